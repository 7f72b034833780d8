import { ProxyError } from "../errors/proxy-error.js";
import type { Socket } from "node:net";
import type { Headers } from "../traffic/headers.js";
import { Http2ConnectionError, overWindow, violation, wrongSize } from "./connection-error.js";
import { FloodGuard } from "./flood-guard.js";
import { errorCode, frameFlag, frameType, maxWindowBytes } from "./frame.js";
import { FrameReader, type FrameTarget } from "./frame-reader.js";
import { HeaderBlock } from "./header-block.js";
import { HpackDecoder } from "./hpack-decoder.js";
import { HpackEncoder } from "./hpack-encoder.js";
import { HpackError } from "./hpack-error.js";
import type { Http2Limit } from "./limits.js";
import { Http2Link, type Http2LinkOptions } from "./link.js";
import { ReceiveCredit } from "./receive-credit.js";
import { RecentStreams } from "./recent-streams.js";
import { StreamTable } from "./stream-table.js";
import { SendQueue } from "./send-queue.js";
import { PeerSettings, settingsPayload } from "./settings.js";
import type { Http2Stream, StreamConnection } from "./stream.js";
import { hasPseudoHeader, readTrailers, writeTrailers } from "./trailer-fields.js";

/** Streams that we reset lately: the peer's frames for them were under way, and are not held against it. */
const maxRememberedResets = 1000;

/**
 * What the two sides of an HTTP/2 connection share (RFC 9113): frames are judged, settings and pings answered, windows kept,
 * streams found.
 */
export abstract class Http2Connection<S extends Http2Stream>
  extends Http2Link
  implements FrameTarget, StreamConnection
{
  readonly sendQueue: SendQueue;
  readonly credit: ReceiveCredit;
  protected readonly streams = new StreamTable<S>();
  protected readonly peer = new PeerSettings();
  protected readonly reader: FrameReader;
  protected readonly guard: FloodGuard;
  protected readonly block: HeaderBlock;
  protected readonly decoder: HpackDecoder;
  protected readonly encoder: HpackEncoder;
  protected hasPeerSettings = false;
  protected areSettingsAcked = false;
  /** Why the connection ends, when it is a mistake: every stream that is left ends with it. */
  #failure: ProxyError | null = null;
  readonly #resets = new RecentStreams(maxRememberedResets);

  /** @param isShared its streams are those of many clients. */
  constructor(socket: Socket, options: Http2LinkOptions, firstLookMs: number, isShared: boolean) {
    super(socket, options, firstLookMs);
    const { limits } = options;
    this.guard = new FloodGuard(limits, isShared);
    this.reader = new FrameReader(this, limits.maxFrameBytes);
    this.sendQueue = new SendQueue(this.writer, this.guard);
    const maxHeldBytes = isShared ? Infinity : limits.maxHeldBytes;
    this.credit = new ReceiveCredit(this.writer, limits, maxHeldBytes, () => options.onLimit("held_bytes"));
    this.block = new HeaderBlock(limits.maxContinuations);
    this.decoder = new HpackDecoder(limits.headerTableBytes);
    this.encoder = new HpackEncoder(limits.headerTableBytes);
  }

  /** Which side this is. */
  protected abstract readonly role: "client" | "server";
  /** The highest stream of the peer that was or will be worked on (RFC 9113 §6.8). */
  protected abstract readonly lastPeerStreamId: number;
  /** The stream has not been opened by either side. */
  protected abstract isIdle(streamId: number): boolean;
  /** Frames of this closed stream are not a mistake of the peer. */
  protected abstract isExcused(streamId: number): boolean;
  /** A header block is complete: `this.block`. */
  protected abstract headers(): void;
  protected abstract goawayCame(lastStreamId: number): void;
  protected abstract settingsCame(): void;
  /** Too many streams were reset young. */
  protected abstract resetFlood(): void;
  /** How a stream ends whose connection broke. */
  protected abstract lostError(stream: S, cause: NodeJS.ErrnoException | null): ProxyError;
  protected abstract violationError(detail: string): ProxyError;
  /** Bytes before the first frame; gives where it begins, -1 = not yet. */
  protected abstract preface(chunk: Buffer): number;
  protected afterRead(): void {}

  /** Our first frames. */
  protected open(): void {
    this.writer.settings(settingsPayload(this.limits, this.role));
    this.credit.open();
  }

  protected readFrames(chunk: Buffer): void {
    try {
      const at = this.preface(chunk);
      if (at >= 0) this.reader.push(chunk, at);
      this.afterRead();
    } catch (error) {
      this.#broke(error);
    }
  }

  writerHasRoom(): void {
    try {
      this.sendQueue.pump();
    } catch (error) {
      this.#broke(error);
    }
  }

  tooManyOwedFrames(): void {
    this.fail(errorCode.enhanceYourCalm, "owed_frames", "answers are not read");
  }

  dropStream(stream: Http2Stream, code: number | null): void {
    this.streams.delete(stream.id);
    // A stream without an id was never begun.
    if (code !== null && stream.id !== 0 && this.state === "open") this.writeReset(stream.id, code);
  }

  writeTrailers(streamId: number, trailers: readonly string[]): void {
    const out = this.writer.beginHeaders();
    const blockAt = out.at;
    try {
      writeTrailers(this.encoder, out, trailers);
    } catch (error) {
      this.encoder.abandon();
      this.writer.dropHeaders(blockAt);
      throw error;
    }
    this.writer.endHeaders(streamId, blockAt, frameFlag.endStream);
  }

  protected writeReset(streamId: number, code: number): void {
    this.#resets.add(streamId);
    this.writer.rstStream(streamId, code);
  }

  protected wasReset(streamId: number): boolean {
    return this.#resets.has(streamId);
  }

  // What comes.

  data(bytes: Buffer, from: number, to: number, charged: number, isLast: boolean): void {
    const { streamId, flags, length, padding } = this.reader;
    this.#expectFrame(frameType.data);
    if (streamId === 0) throw violation("DATA on stream 0");
    if (!this.credit.take(charged)) throw overWindow("DATA over the connection's window");
    const isEnd = isLast && (flags & frameFlag.endStream) !== 0;
    if (isLast) {
      const content = length - ((flags & frameFlag.padded) === 0 ? 0 : padding + 1);
      this.check(this.guard.contentFrame(content === 0 && !isEnd));
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      this.credit.release(charged);
      return this.#dataOnClosed(streamId, isLast);
    }
    if (!stream.isReceiving) {
      this.credit.release(charged);
      return this.streamError(stream, errorCode.streamClosed, "protocol_error", "DATA after END_STREAM");
    }
    stream.isActive = true;
    // Before the bytes are passed on: no window is given back on a stream that will not need it.
    if (isEnd) stream.isReceiving = false;
    const input = stream.input;
    if (input === null) {
      this.credit.release(charged);
      if (to > from) return stream.unexpectedData();
    } else {
      stream.received(to - from);
      const outcome = input.receive(bytes, from, to, charged);
      if (outcome === "over_window") {
        return this.streamError(
          stream,
          errorCode.flowControlError,
          "flow_control_error",
          "DATA over the window",
        );
      }
      if (outcome === "over_length") return this.#wrongLength(stream);
    }
    if (isEnd && !stream.isClosed) this.endInput(stream, null);
  }

  frame(bytes: Buffer, from: number, to: number): void {
    const { type, streamId, flags, length } = this.reader;
    this.#expectFrame(type);
    switch (type) {
      case frameType.headers:
        this.check(this.guard.contentFrame(length === 0 && (flags & frameFlag.endStream) === 0));
        if (this.block.begin(this.reader, bytes, from, to)) this.headers();
        return;
      case frameType.continuation:
        this.check(this.guard.contentFrame(length === 0 && (flags & frameFlag.endHeaders) === 0));
        if (this.block.add(this.reader, bytes, from, to)) this.headers();
        return;
      case frameType.windowUpdate:
        return this.#windowUpdate(streamId, bytes, from, length);
      case frameType.rstStream:
        return this.#rstStream(streamId, bytes, from, length);
      case frameType.settings:
        this.check(this.guard.controlFrame(this.nowMs));
        return this.#settings(bytes, from, to);
      case frameType.ping:
        this.check(this.guard.controlFrame(this.nowMs));
        if (streamId !== 0) throw violation("PING on a stream");
        if (length !== 8) throw wrongSize("PING");
        if ((flags & frameFlag.ack) === 0) this.writer.pingAck(bytes, from);
        return;
      case frameType.goaway:
        if (streamId !== 0) throw violation("GOAWAY on a stream");
        if (length < 8) throw wrongSize("GOAWAY");
        this.check(this.guard.controlFrame(this.nowMs));
        return this.goawayCame(bytes.readUInt32BE(from) & 0x7fffffff);
      case frameType.priority:
        this.check(this.guard.priorityFrame());
        return this.#priority(streamId, bytes, from, length);
      case frameType.pushPromise:
        throw violation("PUSH_PROMISE is not permitted");
      default:
        // Unknown types are skipped (RFC 9113 §4.1).
        this.check(this.guard.controlFrame(this.nowMs));
    }
  }

  /** A second header block of a stream (RFC 9113 §8.1). */
  protected trailers(stream: S): void {
    const { bytes, from, to, endsStream } = this.block;
    const fields: Headers = [];
    const { maxTrailerBytes, maxHeaders } = this.limits;
    const outcome = this.decoder.decode(bytes, from, to, fields, maxTrailerBytes, maxHeaders);
    if (!stream.isReceiving) {
      return this.streamError(stream, errorCode.streamClosed, "protocol_error", "HEADERS after END_STREAM");
    }
    if (!endsStream || outcome === "malformed" || hasPseudoHeader(fields)) {
      return this.streamError(stream, errorCode.protocolError, "protocol_error", "malformed trailers");
    }
    if (outcome !== "ok") {
      const limit = outcome === "too_large" ? "head_bytes" : "header_count";
      return this.streamError(stream, errorCode.enhanceYourCalm, limit, "trailers over the limit");
    }
    stream.isActive = true;
    this.endInput(stream, readTrailers(fields));
  }

  /** Decodes a header block that nobody needs: the decoder's table must follow all the same. */
  protected skipHeaders(): void {
    this.decoder.decode(this.block.bytes, this.block.from, this.block.to, [], 0, 0);
  }

  /** END_STREAM came, with trailers or null. */
  protected endInput(stream: S, trailers: readonly string[] | null): void {
    stream.isReceiving = false;
    if (stream.input?.complete(trailers) === false) return this.#wrongLength(stream);
    if (!stream.isClosed) stream.inputEnded();
  }

  /** RFC 9113 §8.1.1: DATA that does not add up to Content-Length. */
  #wrongLength(stream: S): void {
    this.streamError(stream, errorCode.protocolError, "protocol_error", "DATA does not match content-length");
  }

  /** Every complete frame comes by here (RFC 9113 §3.4, §6.10). */
  #expectFrame(type: number): void {
    if (!this.hasPeerSettings && type !== frameType.settings)
      throw violation("the first frame is not SETTINGS");
    if (this.block.openStreamId !== 0 && type !== frameType.continuation) {
      throw violation("a frame between HEADERS and CONTINUATION");
    }
  }

  #dataOnClosed(streamId: number, isLast: boolean): void {
    if (this.isIdle(streamId)) throw violation("DATA on an idle stream");
    if (!isLast || this.wasReset(streamId) || this.isExcused(streamId)) return;
    this.options.onLimit("protocol_error");
    this.writeReset(streamId, errorCode.streamClosed);
    if (this.guard.streamReset(0) !== null) this.resetFlood();
  }

  #windowUpdate(streamId: number, bytes: Buffer, from: number, length: number): void {
    if (length !== 4) throw wrongSize("WINDOW_UPDATE");
    this.check(this.guard.windowUpdate());
    const increment = bytes.readUInt32BE(from) & 0x7fffffff;
    if (streamId === 0) {
      if (increment === 0) throw violation("WINDOW_UPDATE of 0");
      this.sendQueue.window += increment;
      if (this.sendQueue.window > maxWindowBytes) throw overWindow("WINDOW_UPDATE: window over 2^31-1");
      return this.sendQueue.pump();
    }
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId)) throw violation("WINDOW_UPDATE on an idle stream");
      return;
    }
    if (increment === 0) {
      return this.streamError(stream, errorCode.protocolError, "protocol_error", "WINDOW_UPDATE of 0");
    }
    stream.sendWindow += increment;
    if (stream.sendWindow > maxWindowBytes) {
      const text = "WINDOW_UPDATE: window over 2^31-1";
      return this.streamError(stream, errorCode.flowControlError, "flow_control_error", text);
    }
    stream.output?.windowGrew();
    this.sendQueue.pump();
  }

  #rstStream(streamId: number, bytes: Buffer, from: number, length: number): void {
    if (length !== 4) throw wrongSize("RST_STREAM");
    if (this.isIdle(streamId)) throw violation("RST_STREAM on an idle stream");
    const stream = this.streams.get(streamId);
    if (stream === undefined) return this.check(this.guard.lateReset(this.nowMs));
    const limit = this.guard.streamReset(this.nowMs - stream.openedAtMs);
    stream.peerReset(bytes.readUInt32BE(from));
    if (limit !== null) this.resetFlood();
  }

  #priority(streamId: number, bytes: Buffer, from: number, length: number): void {
    if (streamId === 0) throw violation("PRIORITY on stream 0");
    const stream = this.streams.get(streamId);
    if (length !== 5) {
      if (stream === undefined) throw wrongSize("PRIORITY");
      return this.streamError(stream, errorCode.frameSizeError, "frame_size_error", "PRIORITY: wrong size");
    }
    if (stream !== undefined && (bytes.readUInt32BE(from) & 0x7fffffff) === streamId) {
      const text = "a stream that depends on itself";
      this.streamError(stream, errorCode.protocolError, "protocol_error", text);
    }
  }

  #settings(bytes: Buffer, from: number, to: number): void {
    const { streamId, flags, length } = this.reader;
    if (streamId !== 0) throw violation("SETTINGS on a stream");
    const isAck = (flags & frameFlag.ack) !== 0;
    if (isAck ? length !== 0 : length % 6 !== 0) throw wrongSize("SETTINGS");
    if (!this.hasPeerSettings && isAck) throw violation("the first frame is not SETTINGS");
    if (isAck) {
      this.areSettingsAcked = true;
      return;
    }
    const before = this.peer.initialWindowBytes;
    const leastTableBytes = this.peer.apply(bytes, from, to, this.role === "client");
    this.hasPeerSettings = true;
    this.encoder.setPeerTableBytes(leastTableBytes);
    this.encoder.setPeerTableBytes(this.peer.headerTableBytes);
    this.writer.settingsAck();
    const growth = this.peer.initialWindowBytes - before;
    if (growth !== 0) this.#changeWindows(growth);
    this.settingsCame();
  }

  /** RFC 9113 §6.9.2: of all streams, and possibly below zero. */
  #changeWindows(growth: number): void {
    for (const stream of this.streams.values()) {
      stream.sendWindow += growth;
      if (stream.sendWindow > maxWindowBytes) throw overWindow("SETTINGS: window over 2^31-1");
      if (growth > 0) stream.output?.windowGrew();
    }
    this.sendQueue.pump();
  }

  // What goes wrong.

  /** Throws when a bound of the flood guard was passed. */
  protected check(limit: Http2Limit | null): void {
    if (limit !== null) throw new Http2ConnectionError(errorCode.enhanceYourCalm, limit, `flood: ${limit}`);
  }

  /** RFC 9113 §5.4.2. Counted: a peer can make us reset as many streams as it resets itself (CVE-2025-8671). */
  protected streamError(stream: S, code: number, limit: Http2Limit, detail: string): void {
    this.options.onLimit(limit);
    const flood = this.guard.streamReset(this.nowMs - stream.openedAtMs);
    stream.violated(code, detail);
    if (flood !== null) this.resetFlood();
  }

  /** RFC 9113 §5.4.1: tells the peer, ends all streams, closes. */
  protected fail(code: number, limit: Http2Limit, detail: string): void {
    if (this.state !== "open") return;
    this.options.onLimit(limit);
    this.#failure = this.violationError(detail);
    this.writer.goaway(this.lastPeerStreamId, code, detail);
    this.close(this.lingerMs);
  }

  #broke(error: unknown): void {
    if (error instanceof Http2ConnectionError) return this.fail(error.code, error.limit, error.message);
    if (error instanceof HpackError)
      return this.fail(errorCode.compressionError, "compression_error", error.message);
    if (this.state !== "open") return;
    const text = "unexpected failure on an HTTP/2 connection";
    this.#failure = new ProxyError("internal", text, { cause: error });
    this.writer.goaway(this.lastPeerStreamId, errorCode.internalError, "");
    this.close(this.lingerMs);
  }

  protected ends(cause: NodeJS.ErrnoException | null): void {
    this.reader.stop();
    for (const stream of this.streams.values()) stream.lost(this.#failure ?? this.lostError(stream, cause));
  }
}
