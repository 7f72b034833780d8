import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import { streamIdleText, type ServerTimeouts } from "../stack/server-timeouts.js";
import type { Service } from "../stack/service.js";
import type { Headers } from "../traffic/headers.js";
import type { LocalReply, RequestHead, ResponseHead } from "../traffic/message.js";
import { Http2Connection } from "./connection.js";
import { Http2ConnectionError, violation } from "./connection-error.js";
import { clientPreface, errorCode, frameFlag, maxStreamId } from "./frame.js";
import type { Http2Limit } from "./limits.js";
import type { Http2LinkOptions } from "./link.js";
import { headError } from "./stream.js";
import { readRequestHead, type ReadRequest } from "./request-fields.js";
import { writeResponseHead } from "./response-fields.js";
import { ServerStream, type ServerStreamHost } from "./server-stream.js";

/** What a server connection needs. */
export interface Http2ServerOptions extends Http2LinkOptions {
  readonly service: Service;
  readonly timeouts: ServerTimeouts;
  /** SPIFFE id of the peer, verified before the connection was handed over. */
  readonly peerId: string | undefined;
  /** SHA-256 of its certificate. */
  readonly peerHash?: string;
  /** Makes the reply to a request that could not be read; null = the stream is reset. */
  readonly refuse: (error: ProxyError) => LocalReply | null;
  /** The socket is closed. */
  readonly onClose: (connection: Http2ServerConnection) => void;
}

/** Streams that the client begins before it can know that they are not taken; more is not a race but a flood. */
const maxIgnoredStreams = 1000;

/**
 * The server side of one HTTP/2 connection (RFC 9113), after ALPN or with prior knowledge: reads requests, calls the service,
 * writes the replies.
 */
export class Http2ServerConnection extends Http2Connection<ServerStream> implements ServerStreamHost {
  readonly service: Service;
  readonly remoteAddress: string;
  readonly peerId: string | undefined;
  readonly peerHash: string;
  isDraining = false;
  protected readonly role = "server";
  readonly #server: Http2ServerOptions;
  readonly #openedAtMs: number;
  #prefaceBytes = 0;
  /** The highest stream the client has begun, and the highest that we work on. */
  #seenStreamId = 0;
  #lastStreamId = maxStreamId;
  #ignoredStreams = 0;
  /** Requests of the bytes being read that the service has not been told of: what is reset in the same breath never began. */
  readonly #announced: ServerStream[] = [];
  /** When the first byte of an unfinished head came; -1 = none has. */
  #headSinceMs = -1;
  #idleSinceMs: number;
  #scannedAtMs: number;
  /** When the first GOAWAY was sent, and when the flood was seen; -1: not. */
  #goawayAtMs = -1;
  #floodAtMs = -1;

  /** @param received bytes that were already read from the socket. */
  constructor(socket: Socket, options: Http2ServerOptions, received?: Buffer) {
    super(socket, options, options.timeouts.headMs, options.isMesh);
    this.#server = options;
    this.service = options.service;
    this.peerId = options.peerId;
    this.peerHash = options.peerHash ?? "";
    this.remoteAddress = `${socket.remoteAddress ?? ""}:${socket.remotePort ?? 0}`;
    this.#openedAtMs = this.nowMs;
    this.#idleSinceMs = this.nowMs;
    this.#scannedAtMs = this.nowMs;
    this.open();
    // In a turn of its own, like everything that is read, and before anything else is.
    if (received !== undefined && received.length > 0) process.nextTick(() => this.read(received));
  }

  /** No new requests after a grace (RFC 9113 §6.8), then closes when the last one under way is answered. Idempotent. */
  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    if (this.state !== "open") return;
    this.writer.goaway(maxStreamId, errorCode.noError, "");
    this.#goawayAtMs = this.options.clock.monotonicMs();
    this.timer.restart(this.limits.goawayGraceMs);
  }

  /** Ends everything now. */
  destroy(): void {
    this.drop(null);
  }

  writeResponse(streamId: number, head: ResponseHead, request: RequestHead, isEnd: boolean): number {
    const { writer, encoder } = this;
    const out = writer.beginHeaders();
    const blockAt = out.at;
    try {
      writeResponseHead(encoder, out, head, request, this.options);
    } catch (error) {
      encoder.abandon();
      writer.dropHeaders(blockAt);
      throw error;
    }
    const place = writer.endHeaders(streamId, blockAt, isEnd ? frameFlag.endStream : frameFlag.none);
    writer.owe();
    return place;
  }

  streamEnded(): void {
    if (this.streams.size > 0) return;
    this.#idleSinceMs = this.options.clock.monotonicMs();
    this.#closeIfDone();
  }

  protected get lingerMs(): number {
    return this.#server.timeouts.lingerMs;
  }

  protected get lastPeerStreamId(): number {
    return Math.min(this.#seenStreamId, this.#lastStreamId);
  }

  protected isIdle(streamId: number): boolean {
    return streamId > this.#seenStreamId || (streamId & 1) === 0;
  }

  protected isExcused(streamId: number): boolean {
    return streamId > this.#lastStreamId;
  }

  protected preface(chunk: Buffer): number {
    const have = this.#prefaceBytes;
    if (have === clientPreface.length) return 0;
    const count = Math.min(clientPreface.length - have, chunk.length);
    if (clientPreface.compare(chunk, 0, count, have, have + count) !== 0) throw violation("not HTTP/2");
    this.#prefaceBytes += count;
    return this.#prefaceBytes === clientPreface.length ? count : -1;
  }

  protected override afterRead(): void {
    if (this.#announced.length > 0) this.#handOver();
    if (this.block.openStreamId === 0 && !this.reader.isInsideOfFrame) {
      this.#headSinceMs = -1;
    } else if (this.#headSinceMs < 0) {
      this.#headSinceMs = this.nowMs;
    }
  }

  override data(bytes: Buffer, from: number, to: number, charged: number, isLast: boolean): void {
    if (this.#announced.length > 0) this.#handOver();
    super.data(bytes, from, to, charged, isLast);
  }

  protected headers(): void {
    const { streamId, endsStream, bytes, from, to, isSelfDependent } = this.block;
    if (this.#announced.length > 0 && this.streams.has(streamId)) this.#handOver();
    const known = this.streams.get(streamId);
    if (known !== undefined) return this.trailers(known);
    if (!this.#isTaken(streamId)) return this.skipHeaders();
    const fields: Headers = [];
    const { maxHeadBytes, maxHeaders } = this.limits;
    const outcome = this.decoder.decode(bytes, from, to, fields, maxHeadBytes, maxHeaders);
    const stream = new ServerStream(this, streamId, this.peer.initialWindowBytes, this.nowMs, !endsStream);
    this.streams.add(stream);
    if (isSelfDependent) {
      const text = "a stream that depends on itself";
      return this.streamError(stream, errorCode.protocolError, "protocol_error", text);
    }
    if (outcome !== "ok") return this.#refuse(stream, headErrors[outcome]);
    let read: ReadRequest;
    try {
      read = readRequestHead(fields, this.options);
    } catch (error) {
      return this.#refuse(stream, headError(error));
    }
    const { neverIndexed } = this.decoder;
    if (neverIndexed !== undefined) read.head.neverIndexed = neverIndexed;
    if (endsStream && read.contentLength > 0) return this.#refuse(stream, noContent);
    stream.announce(read);
    this.#announced.push(stream);
  }

  #handOver(): void {
    for (const stream of this.#announced) stream.begin();
    this.#announced.length = 0;
  }

  /** A stream that the client begins: is it to be worked on? If not, that was answered as far as it needs an answer. */
  #isTaken(streamId: number): boolean {
    if ((streamId & 1) === 0) throw violation("HEADERS on a stream of the server");
    if (streamId <= this.#seenStreamId) {
      if (this.wasReset(streamId) || this.isExcused(streamId)) return false;
      throw new Http2ConnectionError(
        errorCode.streamClosed,
        "protocol_error",
        "HEADERS on a stream that is over",
      );
    }
    this.#seenStreamId = streamId;
    if (streamId > this.#lastStreamId) {
      if (++this.#ignoredStreams > maxIgnoredStreams) this.check("streams");
      return false;
    }
    this.guard.streamOpened();
    if (this.streams.size < this.limits.maxConcurrentStreams) return true;
    this.options.onLimit("streams");
    this.writeReset(streamId, errorCode.refusedStream);
    // Before it knows our limit it can only guess, within bounds.
    if (!this.areSettingsAcked && ++this.#ignoredStreams > maxIgnoredStreams) this.check("streams");
    if (this.areSettingsAcked && this.guard.streamReset(0) !== null) this.resetFlood();
    return false;
  }

  #refuse(stream: ServerStream, error: ProxyError): void {
    this.options.onLimit(limitOf(error));
    // Answered or reset, it has cost us the same.
    if (this.guard.streamReset(0) !== null) this.resetFlood();
    if (stream.isClosed) return;
    const reply = this.#server.refuse(error);
    if (reply !== null) stream.refuse(reply);
    else stream.violated(errorCode.protocolError, error.detail);
  }

  /** The client is leaving; streams that it began meanwhile are still taken. */
  protected goawayCame(): void {
    this.drain();
  }

  protected settingsCame(): void {}

  protected resetFlood(): void {
    if (this.#floodAtMs >= 0 || this.state !== "open") return;
    this.options.onLimit("resets");
    this.isDraining = true;
    this.#floodAtMs = this.nowMs;
    this.#lastStreamId = this.lastPeerStreamId;
    this.writer.goaway(this.#lastStreamId, errorCode.enhanceYourCalm, "too many streams were reset");
    this.timer.restart(this.limits.floodGraceMs);
    this.#closeIfDone();
  }

  protected lostError(): ProxyError {
    return new ProxyError("client_gone", "client closed the connection before the response was complete");
  }

  protected violationError(detail: string): ProxyError {
    return new ProxyError("client_gone", `client broke the rules of HTTP/2: ${detail}`);
  }

  /** FIN: nobody waits for a reply any more, so work under way is given up. What was answered is still delivered. */
  protected peerEnded(): void {
    if (this.streams.size > 0) this.drop(null);
    else this.#end();
  }

  protected socketClosed(): void {
    this.#server.onClose(this);
  }

  #closeIfDone(): void {
    if (this.#lastStreamId !== maxStreamId && this.streams.size === 0) this.#end();
  }

  protected look(nowMs: number): number {
    const { headMs, idleMs, streamIdleMs } = this.#server.timeouts;
    // A head may begin at any time, and costs no timer of its own: it gets half as much again at most.
    let nextMs = Math.min(idleMs, headMs / 2);
    if (this.#floodAtMs >= 0 && !this.options.isMesh) {
      nextMs = this.#floodAtMs + this.limits.floodGraceMs - nowMs;
      if (nextMs <= 0) return this.#end();
    }
    if (!this.hasPeerSettings) nextMs = Math.min(nextMs, this.#openedAtMs + headMs - nowMs);
    if (nextMs <= 0) {
      this.options.onLimit("settings_timeout");
      return this.#end();
    }
    if (this.#headSinceMs >= 0) nextMs = Math.min(nextMs, this.#headSinceMs + headMs - nowMs);
    if (nextMs <= 0) {
      this.fail(errorCode.enhanceYourCalm, "continuations", `head not complete after ${headMs} ms`);
      return 0;
    }
    if (this.#goawayAtMs >= 0 && this.#lastStreamId === maxStreamId) {
      nextMs = Math.min(nextMs, this.#goawayAtMs + this.limits.goawayGraceMs - nowMs);
      if (nextMs <= 0) {
        nextMs = headMs / 2;
        this.#lastStreamId = this.#seenStreamId;
        this.writer.goaway(this.#lastStreamId, errorCode.noError, "");
        this.#closeIfDone();
      }
    }
    if (this.streams.size > 0) {
      nextMs = Math.min(nextMs, this.lookForLife(nowMs));
      return Math.max(1, Math.min(nextMs, this.#lookForIdle(nowMs, streamIdleMs)));
    }
    this.writer.shrink();
    if (!this.isDraining) {
      nextMs = Math.min(nextMs, this.#idleSinceMs + idleMs - nowMs);
      if (nextMs <= 0) {
        this.drain();
        nextMs = this.limits.goawayGraceMs;
      }
    }
    // Streams may begin before then, and need their looks.
    return Math.max(1, Math.min(nextMs, this.limits.pingMs, streamIdleMs));
  }

  /** Streams are looked at four times in the time that they may be silent. */
  #lookForIdle(nowMs: number, streamIdleMs: number): number {
    const dueMs = this.#scannedAtMs + streamIdleMs / 4 - nowMs;
    if (dueMs > 0) return dueMs;
    this.#scannedAtMs = nowMs;
    const text = streamIdleText(streamIdleMs);
    for (const stream of this.streams.values()) {
      if (stream.isActive || stream.isTunnel || stream.hasOwnIdle) {
        stream.isActive = false;
        stream.activeAtMs = nowMs;
      } else if (nowMs - stream.activeAtMs >= streamIdleMs) {
        stream.idle(new ProxyError("stream_idle_timeout", text));
      }
    }
    return streamIdleMs / 4;
  }

  #end(): 0 {
    this.close(this.#server.timeouts.streamIdleMs);
    return 0;
  }
}

const headErrors = {
  too_large: new ProxyError("request_headers_too_large", "request head over the limit of bytes"),
  too_many: new ProxyError("request_headers_too_large", "request head over the limit of fields"),
  malformed: new ProxyError("malformed_request", "a field name or value with a forbidden character"),
} as const;
const noContent = new ProxyError("malformed_request", "content-length without content");

function limitOf(error: ProxyError): Http2Limit {
  if (error === headErrors.too_many) return "header_count";
  if (error.code === "request_headers_too_large") return "head_bytes";
  return error.code === "uri_too_long" ? "target_bytes" : "protocol_error";
}
