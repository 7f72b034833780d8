/**
 * The data path without its configuration: client -> server connection -> rescue -> pool [-> mTLS -> server connection ->
 * rescue -> pool] -> upstream, in this process, on real sockets.
 */
import net, { type AddressInfo, type Server } from "node:net";
import tls from "node:tls";
import type { Test } from "tap";
import {
  createRootCa,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../../certs/index.js";
import type { ProxyError } from "../../src/errors/proxy-error.js";
import { Http1ClientConnection } from "../../src/http1/client-connection.js";
import { http1Limits } from "../../src/http1/limits.js";
import { Http2ClientConnection } from "../../src/http2/client-connection.js";
import { http2Limits, meshHttp2Limits, type Http2Limit } from "../../src/http2/limits.js";
import type { ServerTimeouts } from "../../src/stack/server-timeouts.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import type { Svid } from "../../src/identity/svid.js";
import { trustOfSvid } from "../../src/identity/mesh-trust.js";
import { clientTlsOptions, serverTlsOptions } from "../../src/identity/tls-options.js";
import { verifyPeer } from "../../src/identity/verify-peer.js";
import { meshDialer, plainDialer } from "../../src/pool/dialer.js";
import { Http1Pool, type PoolOptions } from "../../src/pool/http1-pool.js";
import { Http2Pool } from "../../src/pool/http2-pool.js";
import { NegotiatedPool, type NegotiatedPoolOptions } from "../../src/pool/negotiated-pool.js";
import { Connections } from "../../src/proxy/connections.js";
import { rescue } from "../../src/proxy/rescue.js";
import { stack, type Layer, type Reply, type Service } from "../../src/stack/service.js";
import { Counter, Gauge } from "../../src/telemetry/cells.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { Condition } from "./raw-client.js";
import { checkedReply } from "./checked-reply.js";

export interface PairOptions {
  readonly upstreamPort: number;
  /** 1: client and upstream in plaintext. 2: with an mTLS hop between. Default 2. */
  readonly hops?: 1 | 2;
  /** What the mTLS hop speaks. Default HTTP/2, as between sidecars; HTTP/1.1 as with other peers. */
  readonly hop?: "http1" | "http2";
  /** What the upstream speaks. Default HTTP/1.1. */
  readonly app?: "http1" | "http2";
  readonly timeouts?: Partial<ServerTimeouts>;
  readonly pool?: Partial<
    Pick<PoolOptions, "maxConnections" | "maxPendingRequests" | "maxRequestsPerConnection" | "poolIdleMs">
  >;
  readonly connectTimeoutMs?: number;
  /** Layers of the first hop, inside of rescue. */
  readonly layers?: (wheel: TimerWheel) => readonly Layer[];
}

/** Long enough for a slow machine, short enough that a timer of the proxy cannot hide a hang. */
const calm: ServerTimeouts = { headMs: 5000, idleMs: 5000, streamIdleMs: 8000, lingerMs: 300 };

const trustDomain = "remora.test";

async function makeIdentities(): Promise<{ readonly web: Svid; readonly api: Svid }> {
  const nowMs = Date.now();
  const { certPem, keyPem } = await createRootCa({ trustDomain, nowMs });
  const authority = loadAuthority(certPem, keyPem);
  const leaf = async (service: string): Promise<Svid> => {
    const key = await generateKeyPem();
    const issued = issueLeaf(authority, {
      identity: { namespace: "default", service },
      publicKeySpki: publicKeySpki(readPrivateKey(key)),
      nowMs,
      ttlMs: 3_600_000,
    });
    return assembleSvid({ certChainPem: issued.certPem, keyPem: key, bundlePem: certPem });
  };
  return { web: await leaf("web"), api: await leaf("api") };
}

let identities: ReturnType<typeof makeIdentities> | undefined;

export class ProxyPair {
  readonly wheel = new TimerWheel(systemClock);
  readonly pools: (Http1Pool | Http2Pool | NegotiatedPool)[] = [];
  /** The hop next to the upstream first, as with pools. */
  readonly listeners: Connections[] = [];
  /** Requests that could not be read, of all hops. */
  readonly refused: ProxyError[] = [];
  /** Errors that calls of the first hop ended with. */
  readonly errors: ProxyError[] = [];
  /** Bounds of HTTP/2 that peers hit, in all hops. */
  readonly limits: Http2Limit[] = [];
  /** Calls under way in all hops, and breaches of the contract of Reply. */
  readonly calls = { active: 0, total: 0, breaches: [] as string[] };
  readonly #servers: Server[] = [];
  readonly #options: PairOptions;
  readonly #condition = new Condition();
  port = 0;

  private constructor(options: PairOptions) {
    this.#options = options;
  }

  static async open(t: Test, options: PairOptions): Promise<ProxyPair> {
    const pair = new ProxyPair(options);
    t.teardown(() => {
      pair.close();
      if (pair.calls.breaches.length > 0)
        throw new Error(`contract of Reply broken: ${pair.calls.breaches.join("; ")}`);
    });
    const { upstreamPort, hops = 2, hop = "http2", app = "http1", connectTimeoutMs = 2000 } = options;
    const layers = options.layers?.(pair.wheel) ?? [];
    const toUpstream = plainDialer(
      { address: "127.0.0.1", port: upstreamPort, connectTimeoutMs },
      pair.wheel,
    );
    const appPool = pair.#pools(false)[app](toUpstream);
    if (hops === 1) {
      pair.port = await pair.#listen(net.createServer(), appPool, layers);
      return pair;
    }
    const { web, api } = await (identities ??= makeIdentities());
    const ALPNProtocols = hop === "http2" ? ["h2", "http/1.1"] : ["http/1.1"];
    const server = tls.createServer({ ...serverTlsOptions(api), ALPNProtocols });
    const port = await pair.#listen(server, appPool, [], web.id);
    const options2 = { ...clientTlsOptions(web), ALPNProtocols };
    const toPeer = meshDialer({ address: "127.0.0.1", port, connectTimeoutMs }, pair.wheel, {
      options: () => options2,
      refusal: (socket) => {
        const peer = verifyPeer(socket, [api.id], trustOfSvid(web));
        return peer.ok ? undefined : peer.reason;
      },
    });
    const meshPool = new NegotiatedPool({ dialer: toPeer, ...pair.#pools(true) });
    pair.port = await pair.#listen(net.createServer(), meshPool, layers);
    return pair;
  }

  /** Open connections of clients at all hops; not those of an HTTP/2 hop, which is shared and stays. */
  get clients(): number {
    const isShared = this.listeners.length === 2 && this.#options.hop !== "http1";
    return this.listeners.slice(isShared ? 1 : 0).reduce((sum, connections) => sum + connections.count, 0);
  }

  /** Open connections of the pools whose connections carry one request at a time. */
  get pooled(): number {
    const isShared = this.pools.length === 2 && this.#options.hop !== "http1";
    const pools = this.pools.slice(this.#options.app === "http2" ? 1 : 0, isShared ? 1 : 2);
    return pools.reduce((sum, pool) => sum + pool.connectionCount, 0);
  }

  /** Until no call is under way. */
  idle(): Promise<void> {
    return this.#condition.wait("all calls ended", () => this.calls.active === 0);
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const connections of this.listeners) connections.destroy();
    for (const pool of this.pools) pool.close();
  }

  #pools(isMesh: boolean): Pick<NegotiatedPoolOptions, "http1" | "http2"> {
    const { wheel } = this;
    const name = `hop ${this.pools.length}`;
    const common = {
      name,
      clock: systemClock,
      wheel,
      maxConnections: 1024,
      maxPendingRequests: 1024,
      poolIdleMs: 3000,
      maxConcurrentStreams: 100,
      ...this.#options.pool,
    };
    const limits = isMesh ? meshHttp2Limits : http2Limits;
    const http2 = { peer: name, limits, clock: systemClock, wheel, isMesh };
    const onLimit = (limit: Http2Limit): void => void this.limits.push(limit);
    return {
      http1: (dialer) =>
        new Http1Pool({
          ...common,
          dialer,
          connect: (socket, owner) => new Http1ClientConnection(socket, name, http1Limits, owner),
        }),
      http2: (dialer) =>
        new Http2Pool({
          ...common,
          dialer,
          connect: (socket, owner) => new Http2ClientConnection(socket, { ...http2, onLimit, owner }),
        }),
    };
  }

  /** With a peer id: whoever comes has proven it. */
  async #listen(
    server: Server,
    upstream: Http1Pool | Http2Pool | NegotiatedPool,
    layers: readonly Layer[],
    peerId?: string,
  ): Promise<number> {
    const { timeouts } = this.#options;
    const connections = new Connections({
      service: stack([rescue, this.#counted, ...layers], upstream),
      clock: systemClock,
      wheel: this.wheel,
      timeouts: { ...calm, ...timeouts },
      listener: {
        connections: new Counter(),
        connectionsActive: new Gauge(),
        http1Connections: new Counter(),
        http2Connections: new Counter(),
      },
      onRefused: (error) => this.refused.push(error),
      onLimit: (limit) => this.limits.push(limit),
    });
    const event = peerId === undefined ? "connection" : "secureConnection";
    server.on(event, (socket: net.Socket) => connections.add(socket, peerId));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    this.#servers.push(server);
    this.pools.push(upstream);
    this.listeners.push(connections);
    return (server.address() as AddressInfo).port;
  }

  /** Counts calls, and checks what Reply promises: informational*, head?, end; end once and last. */
  readonly #counted: Layer = (inner: Service) => ({
    call: (request, reply) => {
      this.calls.active++;
      this.calls.total++;
      return inner.call(request, this.#checked(`${request.head.method} ${request.head.target}`, reply));
    },
  });

  #checked(name: string, reply: Reply): Reply {
    return checkedReply(name, reply, this.calls.breaches, (error) => {
      this.calls.active--;
      if (error !== null) this.errors.push(error);
      reply.end(error);
      this.#condition.changed();
    });
  }
}
