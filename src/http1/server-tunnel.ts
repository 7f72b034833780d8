import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { IncomingBody } from "../traffic/incoming-body.js";
import { SocketTunnel, type SocketTunnelOwner } from "../traffic/socket-tunnel.js";
import type { ServerExchange } from "./server-exchange.js";

export interface ServerTunnelParts {
  readonly request: RequestContext;
  /** The request's body: what the client sends. Its inlet must pass on to this tunnel's. */
  readonly incoming: IncomingBody;
  readonly exchange: ServerExchange;
  readonly wheel: TimerWheel;
  /** How long a client may take for what is left when the upstream is done. */
  readonly lastWordsMs: number;
  /** Connection and call are over, in whichever order. */
  readonly onClose: () => void;
}

/** A client's connection after the 101: its bytes mean nothing to us any more. */
export class ServerTunnel implements SocketTunnelOwner {
  readonly #socket: Socket;
  readonly #parts: ServerTunnelParts;
  readonly #tunnel: SocketTunnel;
  #isCallEnded = false;
  #isClosed = false;
  #timer: WheelTimer | null = null;

  /** Takes over the socket; whoever had it before must listen to it no more. */
  constructor(socket: Socket, parts: ServerTunnelParts) {
    this.#socket = socket;
    this.#parts = parts;
    const { incoming } = parts;
    this.#tunnel = new SocketTunnel(socket, { owner: this, broken: "client_gone", peer: "client", incoming });
  }

  sendFrom(source: BodySource): void {
    this.#tunnel.sendFrom(source);
  }

  /** Nobody wants what the client sends. */
  bodyCancelled(error: ProxyError): void {
    this.#tunnel.bodyCancelled(error);
  }

  /** Breaks both directions off. */
  reset(error: ProxyError): void {
    this.#tunnel.reset(error);
  }

  /** Both directions came to their end at the upstream, or were cut there. */
  callEnded(isCut: boolean): void {
    this.#isCallEnded = true;
    if (this.#isClosed) return this.#parts.onClose();
    if (isCut) return this.reset(tunnelCut);
    // No layer watches any more: who does not read what is left must not stay for ever.
    const { wheel, lastWordsMs } = this.#parts;
    this.#timer = wheel.add(lastWordsMs, { onTimer: () => this.#socket.destroy() });
  }

  tunnelReceived(bytes: number): void {
    this.#parts.request.requestBytes += bytes;
  }

  tunnelSent(bytes: number): void {
    this.#parts.request.responseBytes += bytes;
  }

  tunnelClosed(error: ProxyError | null): void {
    const { exchange, onClose } = this.#parts;
    this.#isClosed = true;
    this.#timer?.cancel();
    if (error !== null && !this.#isCallEnded) {
      this.#isCallEnded = true;
      exchange.abandon(error);
    }
    // Without an error the call ends later: what the upstream has not taken yet is not lost with this connection.
    if (this.#isCallEnded) onClose();
  }
}

/** For the client it is a reset; why, the call knows. */
const tunnelCut = new ProxyError("upstream_truncated", "the tunnel was cut");
