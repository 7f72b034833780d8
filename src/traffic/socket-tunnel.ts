import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { ProxyError } from "../errors/proxy-error.js";
import type { ErrorCode } from "../errors/error-table.js";
import type { BodySink, BodySource } from "./body.js";
import { isEndedByReset, resetSocket } from "./broken-socket.js";
import { IncomingBody, type BodyInlet } from "./incoming-body.js";
import { lendReads } from "./lent-reads.js";
import { TunnelOutput } from "./tunnel-output.js";

export interface SocketTunnelOwner {
  /** Bytes passed; for counting. */
  tunnelReceived(bytes: number): void;
  tunnelSent(bytes: number): void;
  /** The connection is over, exactly once: null when both directions came to their end. */
  tunnelClosed(error: ProxyError | null): void;
}

export interface SocketTunnelOptions {
  readonly owner: SocketTunnelOwner;
  /** What it means that the peer breaks the connection off. */
  readonly broken: ErrorCode;
  /** For error texts: `client` or `application 127.0.0.1:5432`. */
  readonly peer: string;
  /** Takes what the peer sends; absent: a new one. Its inlet must pass on to this tunnel's. */
  readonly incoming?: IncomingBody;
  /** The sink of `incoming` keeps nothing of a chunk after write(): chunks are lent. Such a sink is another SocketTunnel. */
  readonly lendsReads?: boolean;
}

/** A router or a peer that vanished is noticed by the kernel, also where both sides are silent for hours. */
const keepAliveProbeMs = 60_000;

/**
 * One connection whose bytes mean nothing to us. `incoming` is what the peer sends; what is written here goes to the peer.
 * The two directions end independently (a FIN is end(null), and the other way round), and a reset is a failure of both.
 */
export class SocketTunnel implements BodySink, BodyInlet {
  readonly incoming: IncomingBody;
  readonly #socket: Socket;
  readonly #options: SocketTunnelOptions;
  readonly #out: TunnelOutput;
  /** Writes into this tunnel; null before sendFrom() and after its end. */
  #source: BodySource | null = null;
  #isReadEnded = false;
  #isLending = false;
  /** All was handed over that is to be sent. */
  #isWriteEnded = false;
  #isClosed = false;
  #cause: NodeJS.ErrnoException | undefined;
  /** Why what the peer still sends is not wanted any more. */
  #unwanted: ProxyError | null = null;

  /** Takes over the socket, its errors included; it must be connected. */
  constructor(socket: Socket, options: SocketTunnelOptions) {
    this.#socket = socket;
    this.#options = options;
    this.incoming = options.incoming ?? new IncomingBody(-1, this);
    this.#out = new TunnelOutput(socket, () => this.#source?.resume());
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveProbeMs);
    socket.on("data", (chunk: Buffer) => {
      options.owner.tunnelReceived(chunk.length);
      this.incoming.push(chunk);
      // What had come before the tunnel began is through now.
      if (options.lendsReads === true && !this.#isLending) this.#lend();
    });
    if (options.lendsReads === true) this.#lend();
    socket.on("end", () => this.#peerEnded());
    socket.on("error", (cause: NodeJS.ErrnoException) => (this.#cause ??= cause));
    socket.on("close", () => this.#socketClosed());
    // Reset before it was handed over: its events are past.
    if (socket.destroyed) setImmediate(() => this.#socketClosed());
  }

  /** Sends what `source` has to the peer. */
  sendFrom(source: BodySource): void {
    this.#source = source;
    source.attach(this);
  }

  write(chunk: Buffer): boolean {
    if (this.#isClosed || this.#isWriteEnded) return true;
    this.#options.owner.tunnelSent(chunk.length);
    return this.#out.write(chunk);
  }

  end(): void {
    this.#source = null;
    if (this.#isClosed || this.#isWriteEnded) return;
    this.#isWriteEnded = true;
    this.#out.flush();
    // Under TLS never out of a read: node 20 then loses what the peer has sent and is not decrypted yet, without an error. A
    // server that speaks first, and a client that has ended before its tunnel stands, bring that about.
    if (isEncrypted(this.#socket)) setImmediate(() => this.#socket.end());
    else this.#socket.end();
  }

  fail(error: ProxyError): void {
    this.#source = null;
    this.reset(error);
  }

  /** Breaks both directions off, at once. */
  reset(error: ProxyError): void {
    if (this.#isClosed) return;
    this.#out.discard();
    resetSocket(this.#socket);
    this.#close(error);
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  /**
   * Nobody wants what the peer sends. A peer that has got all of its answer keeps it: the kernel resets the connection by
   * itself, over what lies unread or comes later.
   */
  bodyCancelled(error: ProxyError): void {
    if (!this.#isWriteEnded) return this.reset(error);
    this.#unwanted = error;
    this.#socket.pause();
    if (this.#socket.writableFinished) this.#socket.destroy();
    else this.#socket.once("finish", () => this.#socket.destroy());
  }

  #lend(): void {
    this.#isLending = lendReads(this.#socket, (chunk) => this.#receivedLent(chunk));
  }

  #receivedLent(chunk: Buffer): void {
    this.#options.owner.tunnelReceived(chunk.length);
    const { incoming } = this;
    incoming.push(incoming.isAttached ? chunk : Buffer.from(chunk));
  }

  #peerEnded(): void {
    if (this.#isClosed) return;
    if (isEndedByReset(this.#socket)) return this.reset(this.#brokenOff("ECONNRESET"));
    this.#isReadEnded = true;
    this.incoming.complete(null);
  }

  #socketClosed(): void {
    if (this.#isClosed) return;
    const isComplete = this.#isReadEnded && (this.#isWriteEnded || this.#cause !== undefined);
    // A peer that closed after its last word does not hear what is still sent to it; nothing of what it said is lost.
    this.#close(isComplete ? null : (this.#unwanted ?? this.#brokenOff(this.#cause?.code ?? "closed")));
  }

  #brokenOff(what: string): ProxyError {
    const { broken, peer } = this.#options;
    return new ProxyError(broken, `${peer} broke the connection off: ${what}`, { cause: this.#cause });
  }

  #close(error: ProxyError | null): void {
    this.#isClosed = true;
    const source = this.#source;
    this.#source = null;
    const reason = error ?? this.#brokenOff("closed");
    this.incoming.breakOff(reason);
    source?.cancel(reason);
    this.#options.owner.tunnelClosed(error);
  }
}

function isEncrypted(socket: Socket): boolean {
  return (socket as Partial<TLSSocket>).encrypted === true;
}
