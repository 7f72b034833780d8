import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply } from "../stack/service.js";
import type { Dialer } from "./dialer.js";
import type { Http1Pool } from "./http1-pool.js";
import type { Http2Pool } from "./http2-pool.js";

/** What connections to endpoints with a sidecar offer, best first (RFC 7301). */
export const meshAlpn: readonly string[] = ["h2", "http/1.1"];

export interface NegotiatedPoolOptions {
  /** Its TLS offers `meshAlpn`. */
  readonly dialer: Dialer;
  /** Does the peer of a new connection speak HTTP/2? Default: when the handshake chose it. */
  readonly isHttp2?: (socket: Socket) => boolean;
  readonly http1: (dialer: Dialer) => Http1Pool;
  readonly http2: (dialer: Dialer) => Http2Pool;
}

/**
 * Connections to an endpoint that chooses the protocol in the TLS handshake: HTTP/2, or HTTP/1.1 when it names that or
 * nothing. HTTP/2 is expected; whenever a handshake turns out otherwise, because the peer is another proxy or was up- or
 * downgraded, the requests that wait move to the other pool and all later ones go there.
 */
export class NegotiatedPool implements EndpointTransport {
  readonly #http1: Http1Pool;
  readonly #http2: Http2Pool;
  readonly #isHttp2: (socket: Socket) => boolean;
  #current: Http1Pool | Http2Pool;

  constructor({ dialer, http1, http2, isHttp2 = choseHttp2 }: NegotiatedPoolOptions) {
    this.#isHttp2 = isHttp2;
    this.#http1 = http1(this.#watched(dialer, () => this.#http1));
    this.#http2 = http2(this.#watched(dialer, () => this.#http2));
    this.#current = this.#http2;
  }

  get connectionCount(): number {
    return this.#http1.connectionCount + this.#http2.connectionCount;
  }

  /** Connections opened since the start. */
  get opened(): number {
    return this.#http1.opened + this.#http2.opened;
  }

  call(request: RequestContext, reply: Reply): Call {
    return this.#current.call(request, reply);
  }

  retire(): void {
    this.#http1.retire();
    this.#http2.retire();
  }

  close(): void {
    this.#http1.close();
    this.#http2.close();
  }

  #watched(dialer: Dialer, caller: () => Http1Pool | Http2Pool): Dialer {
    return {
      dial: (onConnected, onFailed) =>
        dialer.dial((socket) => {
          const speaker = this.#isHttp2(socket) ? this.#http2 : this.#http1;
          if (speaker === caller()) return onConnected(socket);
          this.#current = speaker;
          speaker.adopt(socket, caller().surrender());
        }, onFailed),
    };
  }
}

function choseHttp2(socket: Socket): boolean {
  return (socket as TLSSocket).alpnProtocol === "h2";
}
