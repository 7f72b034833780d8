import { type Bootstrap, callsOthers } from "./config/bootstrap.js";
import { AppTransport, appConnectTimeoutMs, maxAppConnections } from "./app-transport.js";
import type { InboundConfig } from "./config/inbound-config.js";
import type { EndpointConfig, MtlsMode, Protocol, Snapshot } from "./config/snapshot.js";
import { checkServed, type ServedCheck } from "./identity/served-check.js";
import type { TrustSource } from "./identity/mesh-trust.js";
import type { OpenPeers } from "./identity/open-peers.js";
import type { CertificateSource, Svid } from "./identity/svid.js";
import { LoadShedder } from "./policy/load-shedding.js";
import type { RequestMemory } from "./policy/request-memory.js";
import { plainDialer } from "./pool/dialer.js";
import { Connections } from "./proxy/connections.js";
import type { Authorization } from "./proxy/authorization.js";
import type { DataPlane } from "./proxy/data-plane.js";
import { acceptedAlpn, isForeign } from "./proxy/foreign-peers.js";
import { inbound } from "./proxy/inbound.js";
import type { InboundRules } from "./proxy/inbound-rules.js";
import type { Listen, Port } from "./proxy/listener.js";
import { MeshAcceptor } from "./proxy/mesh-acceptor.js";
import { inboundTcp } from "./proxy/tcp.js";
import { TcpConnections } from "./proxy/tcp-connections.js";
import type { Log } from "./sidecar.js";
import type { SidecarTelemetry } from "./sidecar-telemetry.js";
import type { EndpointTransport } from "./stack/endpoint.js";
import type { Service } from "./stack/service.js";
import { isConfirmed } from "./tcp/confirmed-dialer.js";
import { TcpTransport } from "./tcp/tcp-transport.js";
import { sleep, type Clock } from "./time/clock.js";
import type { TimerWheel } from "./time/timer-wheel.js";

export interface SideOptions {
  readonly bootstrap: Bootstrap;
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  readonly peers: OpenPeers;
  /** Our own SPIFFE id and its trust domain. */
  readonly identity: string;
  readonly trustDomain: string;
  readonly plane: DataPlane;
  readonly authorization: Authorization;
  readonly rules: InboundRules;
  readonly telemetry: SidecarTelemetry;
  /** What the application is working on; inbound and outbound side share it. */
  readonly memory: RequestMemory;
  readonly listen: Listen;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly log: Log;
}

/** The mesh's way to the local application: mTLS listener, inbound stack, connections to the application. */
export class InboundSide {
  readonly #options: SideOptions;
  readonly #connections: Connections;
  readonly #tunnels: TcpConnections;
  readonly #tunnelService: Service;
  readonly #acceptor: MeshAcceptor;
  readonly #app: AppTransport;
  readonly #tcpApp: TcpTransport;
  /** Until the first configuration nothing is known of exceptions. */
  readonly #mtlsMode = (): MtlsMode => this.#options.plane.snapshot?.inbound.mtlsMode ?? "STRICT";
  /** What the application speaks: a policy's word counts more than the flag's. */
  readonly #protocol = (): Protocol => {
    const { plane, bootstrap } = this.#options;
    return plane.snapshot?.inbound.protocol ?? bootstrap.protocol;
  };
  readonly #isTcp = (): boolean => this.#protocol() === "tcp";
  #listener: Port | undefined;

  constructor(options: SideOptions) {
    const { certificates, trust, peers, telemetry, clock, wheel } = options;
    const hasForeign = options.bootstrap.consulCa !== undefined;
    this.#options = options;
    this.#app = new AppTransport({
      address: options.bootstrap.appAddress,
      port: options.bootstrap.appPort,
      protocol: this.#protocol,
      clock,
      wheel,
      onLimit: telemetry.limitMeter("upstream"),
    });
    this.#tcpApp = tcpAppTransport(options);
    this.#tunnels = new TcpConnections(clock);
    this.#tunnelService = inboundTcpService(options, this.#tcpApp, this.#mtlsMode);
    this.#connections = new Connections({
      service: inboundService(options, this.#app, this.#mtlsMode),
      clock,
      wheel,
      listener: telemetry.inboundListener,
      ...(hasForeign && { isForeign }),
      onRefused: (error) => telemetry.errorCounter("inbound", error.code).value++,
      onLimit: telemetry.limitMeter("downstream"),
    });
    this.#acceptor = new MeshAcceptor({
      certificates,
      trust,
      peers,
      mode: this.#mtlsMode,
      ...(hasForeign && { alpn: acceptedAlpn }),
      clock,
      isServerFirst: this.#isTcp,
      onAccepted: (socket, peerId) => {
        if (this.#isTcp()) this.#tunnels.add(socket, peerId, this.#tunnelService);
        else if (!isConfirmed(socket)) return this.#connections.add(socket, peerId);
        else {
          // It has not heard yet, or not any more, that we speak tcp.
          telemetry.peerRefused("not_tcp");
          socket.destroy();
        }
        return undefined;
      },
      onRefused: (reason) => telemetry.peerRefused(reason),
    });
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** Throws ConfigError when the port cannot be bound. */
  async open(): Promise<void> {
    const { inboundAddress: address, inboundPort: port } = this.#options.bootstrap;
    this.#listener = await this.#options.listen({
      flag: "--inbound",
      address,
      port,
      onSocket: (socket) => this.#acceptor.accept(socket),
    });
  }

  /** Does a handshake with our own port show this certificate? True without a look while nobody is asked for one. */
  checkServed(svid: Svid): Promise<ServedCheck> {
    if (this.#listener === undefined || this.#mtlsMode() === "DISABLE") return Promise.resolve({ ok: true });
    const address = loopbackOf(this.#options.bootstrap.inboundAddress);
    return checkServed({ address, port: this.#listener.port }, svid, this.#options.clock);
  }

  /** Accepts no more, finishes what is under way, cuts off what the timeout leaves. */
  async drain(timeoutMs: number): Promise<void> {
    this.#listener?.close();
    const isOver = new AbortController();
    await Promise.race([this.#drained(), sleep(this.#options.clock, timeoutMs, isOver.signal)]);
    isOver.abort();
    const count = this.#connections.count + this.#tunnels.count;
    if (count > 0) this.#options.log("warn", "inbound connections cut off by the drain timeout", { count });
    this.#connections.destroy();
    this.#tunnels.destroy();
  }

  /** Whoever was accepted before the port closed may still be in its handshake: its first request is served, too. */
  async #drained(): Promise<void> {
    const present = this.#connections.drain();
    await this.#acceptor.settled();
    await present;
    await this.#connections.drain();
    await this.#tunnels.drain();
  }

  close(): void {
    this.#listener?.close();
    this.#acceptor.close();
    this.#connections.destroy();
    this.#tunnels.destroy();
    this.#app.close();
    this.#tcpApp.close();
  }
}

/** Where a listener on all addresses is reached from this machine. */
export function loopbackOf(address: string): string {
  if (address === "0.0.0.0") return "127.0.0.1";
  return address === "::" ? "::1" : address;
}

function tcpAppTransport({ bootstrap, wheel }: SideOptions): TcpTransport {
  const { appAddress: address, appPort: port } = bootstrap;
  return new TcpTransport({
    name: `application ${address}:${port}`,
    dialer: plainDialer({ address, port, connectTimeoutMs: appConnectTimeoutMs }, wheel),
    maxConnections: maxAppConnections,
  });
}

function appEndpoint({ bootstrap }: SideOptions): EndpointConfig {
  const { appAddress: address, appPort: port } = bootstrap;
  return { address, port, meshed: false, weight: 1, zone: "", instance: "", meta: {} };
}

/** Raw TCP. Composed anew when a push changes the inbound limits: connections have no class. */
function inboundTcpService(options: SideOptions, app: TcpTransport, mtlsMode: () => MtlsMode): Service {
  const { clock, wheel, telemetry } = options;
  const { active, rejected, ...retryMeters } = telemetry.appMeters();
  const upstream = { key: "app", config: appEndpoint(options) };
  const observe = telemetry.observeInboundTcp();
  const authorization = options.authorization.layer;
  const common = {
    clock,
    wheel,
    observe,
    app,
    upstream,
    mtlsMode,
    authorization,
    active,
    rejected,
    retryMeters,
  };
  return byLimits(options, ({ maxRequests, tunnelIdle }) =>
    inboundTcp({ ...common, maxRequests, tunnelIdle }),
  );
}

/** Composed anew when a push changes the inbound limits. */
function inboundService(options: SideOptions, app: EndpointTransport, mtlsMode: () => MtlsMode): Service {
  const { clock, wheel, telemetry, identity, bootstrap } = options;
  const { active, rejected, ...retryMeters } = telemetry.appMeters();
  const observe = telemetry.observeInbound();
  // Its counts and what it learned outlive every push.
  let shedder: LoadShedder | undefined;
  const compose = ({ maxRequests, shedding, tunnelIdle }: InboundLimits): Service => {
    if (shedding !== undefined) {
      shedder ??= new LoadShedder({ clock, meters: telemetry.sheddingMeters() });
      shedder.configure(shedding, maxRequests);
    }
    telemetry.exposeShedder(shedding === undefined ? undefined : shedder);
    return inbound({
      clock,
      wheel,
      observe,
      self: identity,
      authorization: options.authorization.layer,
      rules: options.rules.layer,
      mtlsMode,
      app,
      appConfig: appEndpoint(options),
      maxRequests,
      tunnelIdle,
      shedding: shedding === undefined ? undefined : shedder?.layer,
      active,
      rejected,
      retryMeters,
      memory: callsOthers(bootstrap) ? options.memory : undefined,
      expired: telemetry.expired("inbound"),
    });
  };
  return byLimits(options, compose);
}

type InboundLimits = Pick<InboundConfig, "maxRequests" | "shedding" | "tunnelIdle">;

function byLimits({ plane }: SideOptions, compose: (limits: InboundLimits) => Service): Service {
  let seen: Snapshot | undefined;
  let limits: InboundLimits = { maxRequests: 0 };
  let current = compose(limits);
  const follow = (snapshot: Snapshot): void => {
    seen = snapshot;
    const { maxRequests, shedding, tunnelIdle } = snapshot.inbound;
    const wanted = {
      maxRequests,
      ...(shedding !== undefined && { shedding }),
      ...(tunnelIdle !== undefined && { tunnelIdle }),
    };
    // Most pushes change something else.
    if (JSON.stringify(wanted) !== JSON.stringify(limits)) current = compose((limits = wanted));
  };
  return {
    call(request, reply) {
      const { snapshot } = plane;
      if (snapshot !== seen && snapshot !== undefined) follow(snapshot);
      return current.call(request, reply);
    },
  };
}
