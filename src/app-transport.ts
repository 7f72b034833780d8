import { clusterDefaults } from "./config/cluster-defaults.js";
import type { Protocol } from "./config/snapshot.js";
import { Http1ClientConnection } from "./http1/client-connection.js";
import { http1Limits } from "./http1/limits.js";
import { Http2ClientConnection } from "./http2/client-connection.js";
import { http2Limits, type LimitMeter } from "./http2/limits.js";
import { plainDialer } from "./pool/dialer.js";
import { Http1Pool } from "./pool/http1-pool.js";
import { Http2Pool } from "./pool/http2-pool.js";
import type { EndpointTransport } from "./stack/endpoint.js";
import type { RequestContext } from "./stack/request-context.js";
import type { Call, Reply } from "./stack/service.js";
import type { Clock } from "./time/clock.js";
import type { TimerWheel } from "./time/timer-wheel.js";

/** The application is on this machine: it answers at once or not at all (linkerd2-proxy, inbound). */
export const appConnectTimeoutMs = 300;
export const maxAppConnections = 1024;
/** Below the keep-alive time of every common server (Node: 5 s). */
const appPoolIdleMs = 3000;

export interface AppTransportOptions {
  readonly address: string;
  readonly port: number;
  /** Read for every request: a push may change it. */
  readonly protocol: () => Protocol;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly onLimit: LimitMeter;
}

/**
 * Connections to the local application, in the protocol that it is known to speak: HTTP/1.1, or HTTP/2 with prior knowledge.
 * After a change requests under way finish where they are, and the connections of before close as they fall idle.
 */
export class AppTransport implements EndpointTransport {
  readonly #protocol: () => Protocol;
  readonly #http1: Http1Pool;
  readonly #http2: Http2Pool;

  constructor(options: AppTransportOptions) {
    const { address, port, protocol, clock, wheel, onLimit } = options;
    const peer = `application ${address}:${port}`;
    const common = {
      name: peer,
      dialer: plainDialer({ address, port, connectTimeoutMs: appConnectTimeoutMs }, wheel),
      clock,
      wheel,
      maxConnections: maxAppConnections,
      maxPendingRequests: maxAppConnections,
    };
    this.#protocol = protocol;
    this.#http1 = new Http1Pool({
      ...common,
      poolIdleMs: appPoolIdleMs,
      connect: (socket, owner) => new Http1ClientConnection(socket, peer, http1Limits, owner),
    });
    this.#http2 = new Http2Pool({
      ...common,
      maxConcurrentStreams: clusterDefaults.maxConcurrentStreams,
      connect: (socket, owner) =>
        new Http2ClientConnection(socket, {
          peer,
          limits: http2Limits,
          clock,
          wheel,
          isMesh: false,
          onLimit,
          owner,
        }),
    });
  }

  call(request: RequestContext, reply: Reply): Call {
    const protocol = this.#protocol();
    const pool = protocol === "http2" || protocol === "grpc" ? this.#http2 : this.#http1;
    return pool.call(request, reply);
  }

  retire(): void {
    this.#http1.retire();
    this.#http2.retire();
  }

  close(): void {
    this.#http1.close();
    this.#http2.close();
  }
}
