import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply, type Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import { isConfirmed, opened } from "./confirmed-dialer.js";
import { SocketTunnel, type SocketTunnelOwner } from "../traffic/socket-tunnel.js";

export interface TcpServerConnectionOptions {
  readonly service: Service;
  readonly clock: Clock;
  /** SPIFFE id of the peer, verified before the connection was handed over. */
  readonly peerId: string | undefined;
  readonly onClose: (connection: TcpServerConnection) => void;
}

/** A connection without HTTP, as the layers see it: a request for a tunnel. CONNECT is never taken for idempotent. */
function tunnelHead(): RequestHead {
  return { method: "CONNECT", target: "", authority: "", version: "1.1", headers: [], upgrade: "tcp" };
}

/**
 * One accepted connection of raw TCP: one call, made at once, so that the server may speak first. A failure has no words
 * here: the client's connection is reset.
 */
export class TcpServerConnection implements Reply, SocketTunnelOwner {
  readonly #socket: Socket;
  readonly #tunnel: SocketTunnel;
  readonly #request: RequestContext;
  readonly #onClose: (connection: TcpServerConnection) => void;
  readonly #service: Service;
  #call: Call = endedCall;
  #isCallEnded = false;
  #isSocketClosed = false;

  constructor(socket: Socket, { service, clock, peerId, onClose }: TcpServerConnectionOptions) {
    this.#socket = socket;
    this.#service = service;
    this.#onClose = onClose;
    this.#tunnel = new SocketTunnel(socket, {
      owner: this,
      broken: "client_gone",
      peer: "client",
      lendsReads: true,
    });
    const remote = `${socket.remoteAddress ?? ""}:${socket.remotePort ?? 0}`;
    this.#request = new RequestContext(
      tunnelHead(),
      this.#tunnel.incoming,
      clock.monotonicMs(),
      remote,
      peerId,
    );
  }

  /** Makes the call. Once, after the constructor: it may be over when this returns. */
  start(): void {
    this.#call = this.#service.call(this.#request, this);
  }

  /** Ends everything now. */
  destroy(): void {
    this.#tunnel.reset(new ProxyError("draining", "the sidecar is closing"));
  }

  informational(): void {}

  head(head: ResponseHead, body: BodySource | null): void {
    if (head.status === 101 && body !== null) {
      // Past the tunnel, which counts what the application sends.
      if (isConfirmed(this.#socket)) this.#socket.write(opened);
      return this.#tunnel.sendFrom(body);
    }
    // Nothing that speaks HTTP is between us and the transport, but whoever adds it must not open a tunnel by that.
    this.#tunnel.reset(new ProxyError("internal", `status ${head.status} in place of a tunnel`));
  }

  end(error: ProxyError | null): void {
    this.#isCallEnded = true;
    if (this.#isSocketClosed) this.#onClose(this);
    else if (error !== null) this.#tunnel.reset(error);
  }

  tunnelReceived(bytes: number): void {
    this.#request.requestBytes += bytes;
  }

  tunnelSent(bytes: number): void {
    this.#request.responseBytes += bytes;
  }

  tunnelClosed(error: ProxyError | null): void {
    this.#isSocketClosed = true;
    if (this.#isCallEnded) this.#onClose(this);
    else if (error !== null) this.#call.cancel(error);
  }
}
