import type { Bootstrap } from "./config/bootstrap.js";
import type { EndpointConfig } from "./config/snapshot.js";
import { Http1ClientConnection } from "./http1/client-connection.js";
import { http1Limits } from "./http1/limits.js";
import type { CertificateSource } from "./identity/svid.js";
import { plainDialer } from "./pool/dialer.js";
import { Http1Pool } from "./pool/http1-pool.js";
import { Connections } from "./proxy/connections.js";
import type { DataPlane } from "./proxy/data-plane.js";
import { inbound } from "./proxy/inbound.js";
import { Listener } from "./proxy/listener.js";
import { MeshAcceptor } from "./proxy/mesh-acceptor.js";
import type { Log } from "./sidecar.js";
import type { SidecarTelemetry } from "./sidecar-telemetry.js";
import type { Service } from "./stack/service.js";
import { sleep, type Clock } from "./time/clock.js";
import type { TimerWheel } from "./time/timer-wheel.js";

export interface SideOptions {
  readonly bootstrap: Bootstrap;
  readonly certificates: CertificateSource;
  /** Our own SPIFFE id and its trust domain. */
  readonly identity: string;
  readonly trustDomain: string;
  readonly plane: DataPlane;
  readonly telemetry: SidecarTelemetry;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly log: Log;
}

/** The application is on this machine: it answers at once or not at all (linkerd2-proxy, inbound). */
const appConnectTimeoutMs = 300;
/** Below the keep-alive time of every common server (Node: 5 s). */
const appPoolIdleMs = 3000;
const maxAppConnections = 1024;

/** The mesh's way to the local application: mTLS listener, inbound stack, connections to the application. */
export class InboundSide {
  readonly #options: SideOptions;
  readonly #connections: Connections;
  readonly #acceptor: MeshAcceptor;
  readonly #app: Http1Pool;
  #listener: Listener | undefined;

  constructor(options: SideOptions) {
    const { certificates, trustDomain, plane, telemetry, clock, wheel } = options;
    this.#options = options;
    this.#app = appPool(options);
    this.#connections = new Connections({
      service: inboundService(options, this.#app),
      clock,
      wheel,
      listener: telemetry.inboundListener,
      onRefused: (error) => telemetry.errorCounter("inbound", error.code).value++,
    });
    this.#acceptor = new MeshAcceptor({
      certificates,
      trustDomain,
      // Until the first configuration nothing is known of exceptions.
      mode: () => plane.snapshot?.inbound.mtlsMode ?? "STRICT",
      clock,
      onAccepted: (socket, peerId) => this.#connections.add(socket, peerId),
      onRefused: (reason) => telemetry.peerRefused(reason),
    });
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** Throws ConfigError when the port cannot be bound. */
  async open(): Promise<void> {
    const { inboundAddress: address, inboundPort: port } = this.#options.bootstrap;
    this.#listener = await Listener.open({
      flag: "--inbound",
      address,
      port,
      onSocket: (socket) => this.#acceptor.accept(socket),
    });
  }

  /** Accepts no more, finishes what is under way, cuts off what the timeout leaves. */
  async drain(timeoutMs: number): Promise<void> {
    this.#listener?.close();
    await Promise.race([this.#connections.drain(), sleep(this.#options.clock, timeoutMs)]);
    const { count } = this.#connections;
    if (count > 0) this.#options.log("warn", "inbound connections cut off by the drain timeout", { count });
    this.#connections.destroy();
  }

  close(): void {
    this.#listener?.close();
    this.#acceptor.close();
    this.#connections.destroy();
    this.#app.close();
  }
}

function appPool({ bootstrap, clock, wheel }: SideOptions): Http1Pool {
  const { appAddress: address, appPort: port } = bootstrap;
  const peer = `application ${address}:${port}`;
  return new Http1Pool({
    name: peer,
    dialer: plainDialer({ address, port, connectTimeoutMs: appConnectTimeoutMs }, wheel),
    connect: (socket, owner) => new Http1ClientConnection(socket, peer, http1Limits, owner),
    clock,
    wheel,
    maxConnections: maxAppConnections,
    maxPendingRequests: maxAppConnections,
    poolIdleMs: appPoolIdleMs,
  });
}

/** Composed anew when a push changes the inbound limit. */
function inboundService(options: SideOptions, app: Http1Pool): Service {
  const { bootstrap, clock, wheel, telemetry, identity, plane } = options;
  const { appAddress: address, appPort: port } = bootstrap;
  const appConfig: EndpointConfig = {
    address,
    port,
    meshed: false,
    weight: 1,
    zone: "",
    instance: "",
    meta: {},
  };
  const { active, rejected, ...retryMeters } = telemetry.appMeters();
  const observe = telemetry.observeInbound();
  const compose = (maxRequests: number): Service =>
    inbound({
      clock,
      wheel,
      observe,
      self: identity,
      app,
      appConfig,
      maxRequests,
      active,
      rejected,
      retryMeters,
    });
  let maxRequests = 0;
  let current = compose(maxRequests);
  return {
    call(request, reply) {
      const wanted = plane.snapshot?.inbound.maxRequests ?? 0;
      if (wanted !== maxRequests) current = compose((maxRequests = wanted));
      return current.call(request, reply);
    },
  };
}
