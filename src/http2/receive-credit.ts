import { defaultWindowBytes } from "./frame.js";
import type { FrameWriter } from "./frame-writer.js";
import type { Http2Limits } from "./limits.js";

/**
 * The connection's receive window (RFC 9113 §5.2). What arrives is given back at once, also while a stream holds it: a
 * stream that stalls is bounded by its own window and must not stop the others. Only when all streams together hold more than
 * `maxHeldBytes` is the rest kept back until they let go.
 */
export class ReceiveCredit {
  readonly writer: FrameWriter;
  readonly streamWindowBytes: number;
  readonly #windowBytes: number;
  readonly #maxHeldBytes: number;
  readonly #onHeldLimit: () => void;
  /** What the peer may still send. */
  #window = defaultWindowBytes;
  /** Taken, and not given back yet. */
  #credit: number;
  #held = 0;
  #keptBack = 0;

  /** @param maxHeldBytes Infinity: the windows of the streams are the only bound. */
  constructor(writer: FrameWriter, limits: Http2Limits, maxHeldBytes: number, onHeldLimit: () => void) {
    this.writer = writer;
    this.streamWindowBytes = limits.streamWindowBytes;
    this.#windowBytes = Math.max(limits.connectionWindowBytes, defaultWindowBytes);
    this.#maxHeldBytes = maxHeldBytes;
    this.#onHeldLimit = onHeldLimit;
    this.#credit = this.#windowBytes - defaultWindowBytes;
  }

  /** With the first SETTINGS: from the window of the RFC to ours. */
  open(): void {
    this.#giveBack();
  }

  /** Bytes of a DATA frame came. False: more than the window. */
  take(bytes: number): boolean {
    this.#window -= bytes;
    return this.#window >= 0;
  }

  /** So many of them need no place any more. */
  release(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit * 2 >= this.#windowBytes) this.#giveBack();
  }

  /** A stream keeps so many of them for its consumer. */
  hold(bytes: number): void {
    this.#held += bytes;
    this.#settle(bytes);
  }

  /** A stream has let go of what it kept. */
  letGo(bytes: number): void {
    this.#held -= bytes;
    this.#settle(0);
  }

  #settle(arrived: number): void {
    const before = this.#keptBack;
    this.#keptBack = Math.max(0, this.#held - this.#maxHeldBytes);
    if (before === 0 && this.#keptBack > 0) this.#onHeldLimit();
    const free = arrived + before - this.#keptBack;
    if (free > 0) this.release(free);
  }

  #giveBack(): void {
    if (this.#credit === 0) return;
    this.writer.windowUpdate(0, this.#credit);
    this.#window += this.#credit;
    this.#credit = 0;
  }
}
