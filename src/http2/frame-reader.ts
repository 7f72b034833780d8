import { Http2ConnectionError } from "./connection-error.js";
import { errorCode, frameFlag, frameHeadBytes, frameType } from "./frame.js";

/** Takes the frames; their head stands in the fields of the reader. What it throws ends the reading. */
export interface FrameTarget {
  /**
   * Content of a DATA frame, without padding: all of it, or the piece that has come. `credit` counts what it takes off the
   * flow-control windows, padding included.
   */
  data(bytes: Buffer, from: number, to: number, credit: number, isLast: boolean): void;
  /** Payload of any other frame; only valid during the call. */
  frame(bytes: Buffer, from: number, to: number): void;
}

/**
 * Cuts what a socket gives into frames (RFC 9113 §4.1). Nothing is copied, except frames other than DATA that straddle two
 * chunks, and those are never larger than `maxFrameBytes`.
 */
export class FrameReader {
  /** Head of the present frame. */
  type = 0;
  flags = 0;
  streamId = 0;
  length = 0;
  /** Bytes of padding of the present DATA frame, its length byte not counted. */
  padding = 0;
  readonly #target: FrameTarget;
  readonly #maxFrameBytes: number;
  readonly #head = Buffer.allocUnsafe(frameHeadBytes);
  #headBytes = 0;
  #isInPayload = false;
  /** Payload bytes still to come. */
  #left = 0;
  #partial: Buffer | null = null;
  #isStopped = false;

  constructor(target: FrameTarget, maxFrameBytes: number) {
    this.#target = target;
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Some frame other than DATA has begun and is not complete. */
  get isInsideOfFrame(): boolean {
    return this.#headBytes > 0 || (this.#isInPayload && this.type !== frameType.data);
  }

  /** Gives no further frames, not even those of the chunk being read. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Takes all of `chunk` from `from` on. Throws Http2ConnectionError, and what the target throws. */
  push(chunk: Buffer, from: number): void {
    let at = from;
    while (!this.#isStopped) {
      if (!this.#isInPayload) {
        at = this.#readHead(chunk, at);
        if (at < 0) return;
      }
      at = this.type === frameType.data ? this.#readData(chunk, at) : this.#readPayload(chunk, at);
      if (at < 0) return;
    }
  }

  #readHead(chunk: Buffer, from: number): number {
    let head = chunk;
    let at = from;
    let next = from + frameHeadBytes;
    if (this.#headBytes > 0 || next > chunk.length) {
      head = this.#head;
      const copied = chunk.copy(head, this.#headBytes, from, from + frameHeadBytes - this.#headBytes);
      this.#headBytes += copied;
      if (this.#headBytes < frameHeadBytes) return -1;
      this.#headBytes = 0;
      at = 0;
      next = from + copied;
    }
    this.length = ((head[at] as number) << 16) | ((head[at + 1] as number) << 8) | (head[at + 2] as number);
    this.type = head[at + 3] as number;
    this.flags = head[at + 4] as number;
    this.streamId =
      (((head[at + 5] as number) & 0x7f) << 24) |
      ((head[at + 6] as number) << 16) |
      ((head[at + 7] as number) << 8) |
      (head[at + 8] as number);
    if (this.length > this.#maxFrameBytes) {
      throw new Http2ConnectionError(
        errorCode.frameSizeError,
        "frame_size_error",
        `frame of ${this.length} bytes`,
      );
    }
    this.#left = this.length;
    this.#isInPayload = true;
    // -1: its length has not been read.
    this.padding = this.type === frameType.data && (this.flags & frameFlag.padded) !== 0 ? -1 : 0;
    return next;
  }

  #readData(chunk: Buffer, from: number): number {
    const end = chunk.length;
    let at = from;
    let credit = 0;
    if (this.padding < 0) {
      if (this.#left > 0 && at === end) return -1;
      const padding = this.#left === 0 ? 0 : (chunk[at] as number);
      // RFC 9113 §6.1: padding that fills the payload or more.
      if (padding >= this.length) {
        throw new Http2ConnectionError(errorCode.protocolError, "protocol_error", "DATA: padding too long");
      }
      this.padding = padding;
      this.#left--;
      credit = 1;
      at++;
    }
    const start = at;
    const content = Math.min(Math.max(0, this.#left - this.padding), end - at);
    at += content;
    this.#left -= content;
    const stop = at;
    if (this.#left <= this.padding) {
      const skipped = Math.min(this.#left, end - at);
      at += skipped;
      this.#left -= skipped;
      credit += skipped;
    }
    const isLast = this.#left === 0;
    if (isLast) this.#isInPayload = false;
    else if (at === from) return -1;
    this.#target.data(chunk, start, stop, credit + content, isLast);
    return isLast ? at : -1;
  }

  #readPayload(chunk: Buffer, from: number): number {
    const to = from + this.#left;
    if (this.#partial === null && to <= chunk.length) {
      this.#isInPayload = false;
      this.#target.frame(chunk, from, to);
      return to;
    }
    const partial = (this.#partial ??= Buffer.allocUnsafe(this.length));
    const copied = chunk.copy(partial, this.length - this.#left, from, Math.min(to, chunk.length));
    this.#left -= copied;
    if (this.#left > 0) return -1;
    this.#partial = null;
    this.#isInPayload = false;
    this.#target.frame(partial, 0, this.length);
    return from + copied;
  }
}
