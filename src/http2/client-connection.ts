import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import type { Headers } from "../traffic/headers.js";
import { ClientStream, type ClientStreamHost } from "./client-stream.js";
import { Http2Connection } from "./connection.js";
import { violation } from "./connection-error.js";
import { clientPreface, errorCode, frameFlag, maxStreamId } from "./frame.js";
import type { Http2LinkOptions } from "./link.js";
import { headError } from "./stream.js";
import { writeRequestHead } from "./request-fields.js";
import { readResponseHead, type ReadResponse } from "./response-fields.js";

/** Told by a connection what it can do for others. */
export interface Http2ClientOwner {
  /** A stream ended, or the peer allows more of them. */
  connectionFree(connection: Http2ClientConnection): void;
  /** Takes no new streams; those under way go on. Not told by retire(). */
  connectionDraining(connection: Http2ClientConnection): void;
  /** Gone. Told once, before the calls that it carried learn of it. */
  connectionClosed(connection: Http2ClientConnection): void;
}

/** What a client connection needs. */
export interface Http2ClientOptions extends Http2LinkOptions {
  /** For error texts: who is at the other end. */
  readonly peer: string;
  readonly owner: Http2ClientOwner;
}

/** Streams that may be open before the peer has said how many (RFC 9113 §6.5.2 recommends no less). */
const presumedMaxStreams = 100;
const lingerMs = 1000;
/** Of the answer that a server of HTTP/1 gives to our preface. */
const http1Start = Buffer.from("HTTP/", "latin1");

/** The client side of one HTTP/2 connection (RFC 9113), after ALPN or with prior knowledge. */
export class Http2ClientConnection extends Http2Connection<ClientStream> implements ClientStreamHost {
  readonly peerName: string;
  protected readonly role = "client";
  protected readonly lingerMs = lingerMs;
  /** The server has no streams of its own here: push is off. */
  protected readonly lastPeerStreamId = 0;
  readonly #owner: Http2ClientOwner;
  #nextStreamId = 1;
  #isDraining = false;
  #isWatched = true;
  #destroyedWith: ProxyError | null = null;
  /** Tunnels that wait to hear whether the peer takes extended CONNECT (RFC 8441 §3). */
  #undecided: ClientStream[] = [];

  constructor(socket: Socket, options: Http2ClientOptions) {
    super(socket, options, options.limits.pingMs, true);
    this.peerName = options.peer;
    this.#owner = options.owner;
    this.writer.raw(clientPreface);
    this.open();
  }

  /** Requests under way. */
  get activeStreams(): number {
    return this.streams.size + this.#undecided.length;
  }

  /** How many requests may be under way at once. */
  get maxStreams(): number {
    return this.hasPeerSettings ? Math.min(this.peer.maxConcurrentStreams, maxStreamId) : presumedMaxStreams;
  }

  get canSend(): boolean {
    return (
      this.state === "open" &&
      !this.#isDraining &&
      this.activeStreams < this.maxStreams &&
      this.#nextStreamId <= maxStreamId
    );
  }

  /** Sends a request; only while canSend. */
  send(request: RequestContext, reply: Reply): Call {
    if (!this.canSend) {
      reply.end(new ProxyError("upstream_unprocessed", `${this.peerName}: connection takes no more streams`));
      return endedCall;
    }
    const stream = new ClientStream(this, request, reply, this.nowMs);
    if (!stream.isTunnel) return this.#open(stream);
    if (this.hasPeerSettings) return this.#openTunnel(stream);
    this.#undecided.push(stream);
    this.#watch();
    return stream;
  }

  /** Takes no new streams, and closes when the last one ends. Idempotent. */
  retire(): void {
    this.#isDraining = true;
    this.#closeIfDone();
  }

  /** Closes now; calls under way end with `error`. */
  destroy(error: ProxyError): void {
    this.#destroyedWith = error;
    this.drop(null);
  }

  mistaken(): void {
    this.options.onLimit("protocol_error");
  }

  streamEnded(stream: ClientStream): void {
    if (stream.id === 0) this.#undecided = this.#undecided.filter((other) => other !== stream);
    if (this.#isDraining) this.#closeIfDone();
    else if (this.state === "open") this.#owner.connectionFree(this);
  }

  #open(stream: ClientStream): Call {
    const { writer, encoder } = this;
    const { head, body } = stream.request;
    const out = writer.beginHeaders();
    const blockAt = out.at;
    try {
      writeRequestHead(encoder, out, head, this.options);
    } catch (error) {
      encoder.abandon();
      writer.dropHeaders(blockAt);
      stream.lost(headError(error));
      return endedCall;
    }
    stream.id = this.#nextStreamId;
    this.#nextStreamId += 2;
    stream.sendWindow = this.peer.initialWindowBytes;
    this.streams.add(stream);
    this.guard.streamOpened();
    const isEnd = body === null && !stream.isTunnel;
    const place = writer.endHeaders(stream.id, blockAt, isEnd ? frameFlag.endStream : frameFlag.none);
    stream.generation = writer.generation;
    this.#watch();
    stream.begin(place);
    return stream;
  }

  /** From the first request on: nobody may wait for a peer that is gone, tunnels that wait for its settings neither. */
  #watch(): void {
    if (this.#isWatched) return;
    this.#isWatched = true;
    this.timer.restart(this.limits.pingMs);
  }

  #openTunnel(stream: ClientStream): Call {
    if (this.peer.takesConnect) return this.#open(stream);
    const text = `${this.peerName}: takes no extended CONNECT (RFC 8441)`;
    stream.lost(new ProxyError("upstream_protocol_error", text));
    return endedCall;
  }

  protected isIdle(streamId: number): boolean {
    return streamId >= this.#nextStreamId || (streamId & 1) === 0;
  }

  protected isExcused(): boolean {
    return false;
  }

  protected preface(chunk: Buffer): number {
    if (!this.hasPeerSettings && chunk.subarray(0, http1Start.length).equals(http1Start))
      throw violation("it speaks HTTP/1; correct the service's protocol");
    return 0;
  }

  protected headers(): void {
    const { streamId, endsStream, bytes, from, to } = this.block;
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId)) throw violation("HEADERS on an idle stream");
      return this.skipHeaders();
    }
    if (stream.hasHead) return this.trailers(stream);
    const fields: Headers = [];
    const { maxHeadBytes, maxHeaders } = this.limits;
    const outcome = this.decoder.decode(bytes, from, to, fields, maxHeadBytes, maxHeaders);
    if (outcome !== "ok") {
      this.options.onLimit(
        outcome === "too_large" ? "head_bytes" : outcome === "too_many" ? "header_count" : "protocol_error",
      );
      return stream.refused(headErrors[outcome]);
    }
    let read: ReadResponse;
    try {
      read = readResponseHead(fields, stream.request.head, this.options);
    } catch (error) {
      this.options.onLimit("protocol_error");
      return stream.refused(headError(error));
    }
    const { neverIndexed } = this.decoder;
    if (neverIndexed !== undefined) read.head.neverIndexed = neverIndexed;
    stream.isActive = true;
    stream.responded(read, endsStream);
  }

  protected goawayCame(lastStreamId: number): void {
    const wasDraining = this.#isDraining;
    this.#isDraining = true;
    if (!wasDraining) this.#owner.connectionDraining(this);
    for (const stream of this.#all()) {
      if (stream.id !== 0 && stream.id <= lastStreamId) continue;
      const text = `${this.peerName}: going away before it took the request`;
      stream.lost(new ProxyError("upstream_unprocessed", text));
    }
    this.#closeIfDone();
  }

  protected settingsCame(): void {
    const undecided = this.#undecided;
    this.#undecided = [];
    for (const stream of undecided) this.#openTunnel(stream);
    if (this.canSend) this.#owner.connectionFree(this);
  }

  /** Whatever a server resets, it was we who asked for it. */
  protected resetFlood(): void {}

  protected lostError(stream: ClientStream, cause: NodeJS.ErrnoException | null): ProxyError {
    if (this.#destroyedWith !== null) return this.#destroyedWith;
    const options = cause === null ? {} : { cause };
    const how = `${this.peerName}: ${cause?.code ?? "connection closed"}`;
    if (stream.hasHead) {
      return new ProxyError("upstream_truncated", `${how} before the response was complete`, options);
    }
    if (stream.generation === this.writer.generation || stream.id === 0) {
      return new ProxyError("upstream_unprocessed", `${how} before the request was sent`, options);
    }
    // TLS 1.3 (RFC 8446 §4.4.2.4): a server's verdict on our certificate comes after our handshake is done.
    if (!this.hasPeerSettings && /^ERR_SSL_.*ALERT/.test(cause?.code ?? "")) {
      return new ProxyError("upstream_tls_failed", how, options);
    }
    const code = cause?.code === "ECONNRESET" ? "upstream_reset" : "upstream_closed";
    return new ProxyError(code, `${how} before the response`, options);
  }

  protected violationError(detail: string): ProxyError {
    return new ProxyError("upstream_protocol_error", `${this.peerName}: ${detail}`);
  }

  protected override ends(cause: NodeJS.ErrnoException | null): void {
    this.#owner.connectionClosed(this);
    for (const stream of this.#undecided) stream.lost(this.lostError(stream, cause));
    super.ends(cause);
  }

  protected socketClosed(): void {}

  protected peerEnded(): void {
    this.drop(null);
  }

  protected look(nowMs: number): number {
    if (this.activeStreams > 0) return this.lookForLife(nowMs);
    this.#isWatched = false;
    this.writer.shrink();
    return 0;
  }

  #all(): ClientStream[] {
    return [...this.streams.values(), ...this.#undecided];
  }

  #closeIfDone(): void {
    if (this.activeStreams > 0 || this.state !== "open") return;
    this.writer.goaway(0, errorCode.noError, "");
    this.close(this.lingerMs);
  }
}

const headErrors = {
  too_large: new ProxyError("upstream_headers_too_large", "response head over the limit of bytes"),
  too_many: new ProxyError("upstream_headers_too_large", "response head over the limit of fields"),
  malformed: new ProxyError(
    "upstream_protocol_error",
    "a field name or value with a forbidden character in the response",
  ),
} as const;
