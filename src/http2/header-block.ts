import { ByteWriter } from "../traffic/byte-writer.js";
import { Http2ConnectionError, violation, wrongSize } from "./connection-error.js";
import { errorCode, frameFlag } from "./frame.js";
import type { FrameReader } from "./frame-reader.js";

/**
 * The header block being received, from a HEADERS frame and its CONTINUATIONs (RFC 9113 §4.3, §6.2, §6.10). A block in one
 * frame, the usual case, is not copied. After `add` said true it is `bytes` from `from` to `to`.
 */
export class HeaderBlock {
  /** The stream whose block is not complete; 0: there is none. */
  openStreamId = 0;
  streamId = 0;
  endsStream = false;
  /** The stream depends on itself (RFC 7540 §5.3.1). */
  isSelfDependent = false;
  bytes: Buffer = nothing;
  from = 0;
  to = 0;
  readonly #maxContinuations: number;
  #parts: ByteWriter | null = null;
  #continuations = 0;

  constructor(maxContinuations: number) {
    this.#maxContinuations = maxContinuations;
  }

  /** A HEADERS frame. True: the block is complete. Throws Http2ConnectionError. */
  begin(frame: FrameReader, bytes: Buffer, from: number, to: number): boolean {
    const { flags, streamId } = frame;
    if (streamId === 0) throw violation("HEADERS on stream 0");
    let at = from;
    let end = to;
    if ((flags & frameFlag.padded) !== 0) {
      if (at >= end) throw wrongSize("HEADERS");
      end -= bytes[at++] as number;
    }
    this.isSelfDependent = false;
    if ((flags & frameFlag.priority) !== 0) {
      if (end - at < 5) throw at + 5 > to ? wrongSize("HEADERS") : violation("HEADERS: padding too long");
      this.isSelfDependent = (bytes.readUInt32BE(at) & 0x7fffffff) === streamId;
      at += 5;
    }
    if (at > end) throw violation("HEADERS: padding too long");
    this.streamId = streamId;
    this.endsStream = (flags & frameFlag.endStream) !== 0;
    if ((flags & frameFlag.endHeaders) !== 0) {
      this.bytes = bytes;
      this.from = at;
      this.to = end;
      return true;
    }
    this.openStreamId = streamId;
    this.#continuations = 0;
    this.#parts = new ByteWriter(2 * (end - at) + 256);
    this.#append(this.#parts, bytes, at, end);
    return false;
  }

  /** A CONTINUATION frame. True: the block is complete. Throws Http2ConnectionError. */
  add(frame: FrameReader, bytes: Buffer, from: number, to: number): boolean {
    const parts = this.#parts;
    if (parts === null || frame.streamId !== this.openStreamId)
      throw violation("CONTINUATION without HEADERS");
    if (++this.#continuations > this.#maxContinuations) {
      throw new Http2ConnectionError(
        errorCode.enhanceYourCalm,
        "continuations",
        `more than ${this.#maxContinuations} CONTINUATION frames`,
      );
    }
    this.#append(parts, bytes, from, to);
    if ((frame.flags & frameFlag.endHeaders) === 0) return false;
    this.openStreamId = 0;
    this.#parts = null;
    this.bytes = parts.bytes;
    this.from = 0;
    this.to = parts.at;
    return true;
  }

  #append(parts: ByteWriter, bytes: Buffer, from: number, to: number): void {
    parts.ensure(to - from);
    parts.at += bytes.copy(parts.bytes, parts.at, from, to);
  }
}

const nothing = Buffer.alloc(0);
