import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import type { ResponseHead } from "../traffic/message.js";
import { SocketTunnel, type SocketTunnelOwner } from "../traffic/socket-tunnel.js";

/** Opens connections to one address. Exactly one of the callbacks runs, later than the call, unless it is cancelled. */
export interface TunnelDialer {
  dial(onConnected: (socket: Socket) => void, onFailed: (error: ProxyError) => void): { cancel(): void };
}

export interface TcpTransportOptions {
  /** For error texts, for example `cluster db.default, 10.0.0.7:20001`. */
  readonly name: string;
  readonly dialer: TunnelDialer;
  readonly maxConnections: number;
}

/** What a tunnel's opening looks like to the layers. */
function openedHead(): ResponseHead {
  return { status: 101, reason: "", version: "1.1", headers: [] };
}

/** One connection to an endpoint for each call: the call is answered as soon as the connection stands. */
export class TcpTransport implements EndpointTransport {
  readonly #options: TcpTransportOptions;
  readonly #calls = new Set<TcpCall>();
  #isClosed = false;

  constructor(options: TcpTransportOptions) {
    this.#options = options;
  }

  get connectionCount(): number {
    return this.#calls.size;
  }

  call(request: RequestContext, reply: Reply): Call {
    const { name, dialer, maxConnections } = this.#options;
    if (this.#isClosed) {
      reply.end(closedError);
      return endedCall;
    }
    if (this.#calls.size >= maxConnections) {
      reply.end(new ProxyError("concurrency_limit", `${name}: ${maxConnections} connections open`));
      return endedCall;
    }
    const call = new TcpCall(request, reply, name, () => this.#calls.delete(call));
    this.#calls.add(call);
    call.start(dialer);
    return call;
  }

  /** Connections stay for as long as their two ends like. */
  retire(): void {}

  close(): void {
    this.#isClosed = true;
    for (const call of [...this.#calls]) call.cancel(closedError);
  }
}

const closedError = new ProxyError("upstream_unprocessed", "the sidecar is closing");

class TcpCall implements Call, SocketTunnelOwner {
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #name: string;
  readonly #onEnd: () => void;
  #dial: { cancel(): void } | null = null;
  #tunnel: SocketTunnel | null = null;
  #isEnded = false;

  constructor(request: RequestContext, reply: Reply, name: string, onEnd: () => void) {
    this.#request = request;
    this.#reply = reply;
    this.#name = name;
    this.#onEnd = onEnd;
  }

  start(dialer: TunnelDialer): void {
    this.#dial = dialer.dial(
      (socket) => this.#connected(socket),
      (error) => this.#end(error),
    );
  }

  cancel(error: ProxyError): void {
    if (this.#isEnded) return;
    if (this.#tunnel === null) {
      this.#dial?.cancel();
      this.#end(error);
    } else {
      this.#tunnel.reset(error);
    }
  }

  tunnelReceived(): void {}

  tunnelSent(): void {}

  tunnelClosed(error: ProxyError | null): void {
    this.#end(error);
  }

  #connected(socket: Socket): void {
    const tunnel = new SocketTunnel(socket, {
      owner: this,
      broken: "upstream_reset",
      peer: this.#name,
      lendsReads: true,
    });
    this.#tunnel = tunnel;
    this.#reply.head(openedHead(), tunnel.incoming);
    if (this.#isEnded) return;
    const { body } = this.#request;
    if (body === null) tunnel.end();
    else tunnel.sendFrom(body);
  }

  #end(error: ProxyError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#onEnd();
    this.#reply.end(error);
  }
}
