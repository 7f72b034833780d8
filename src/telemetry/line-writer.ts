import { close, write } from "node:fs";
import type { Clock, Timer } from "../time/clock.js";
import type { Counter } from "./cells.js";

/** Lines wait at most this long, and no longer than until there are this many bytes. */
const flushAfterMs = 100;
const flushAtLength = 64 * 1024;
/** What waits while the destination is stuck; then lines are dropped. Characters, almost all of one byte. */
const maxWaitingLength = 1024 * 1024;
/** A pipe that nobody reads answers EAGAIN when it was opened non-blocking. */
const retryAfterMs = 100;
/** Longest wait for a stuck destination when closing. */
const closeWithinMs = 1000;

/** Writes lines to a file descriptor in batches, one write at a time, outside the event loop's thread. */
export class LineWriter {
  readonly #fd: number;
  readonly #clock: Clock;
  readonly #dropped: Counter;
  readonly #maxWriteBytes: number;
  #lines: string[] = [];
  #length = 0;
  #timer: Timer | undefined;
  /** Bytes on their way and the lines they hold. */
  #writing: { bytes: Buffer; lines: number } | undefined;
  #onIdle: (() => void) | undefined;
  #isClosed = false;

  /**
   * `dropped` counts lines that were lost. The descriptor belongs to the writer unless it is 1 or 2. One write holds whole
   * lines of `maxWriteBytes` together, or one longer line: other processes may write to the same destination.
   */
  constructor(fd: number, clock: Clock, dropped: Counter, maxWriteBytes = Infinity) {
    this.#maxWriteBytes = maxWriteBytes;
    this.#fd = fd;
    this.#clock = clock;
    this.#dropped = dropped;
  }

  /** `line` ends with its line feed. Never blocks, never throws. */
  write(line: string): void {
    if (this.#isClosed || this.#length + line.length > maxWaitingLength) {
      this.#dropped.value++;
      return;
    }
    this.#lines.push(line);
    this.#length += line.length;
    if (this.#length >= flushAtLength) this.#flush();
    else this.#timer ??= this.#clock.timer(flushAfterMs, () => this.#flush());
  }

  /** Writes what waits, then lets go of the descriptor. A stuck destination is given up after a second. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#flush();
    if (this.#writing !== undefined) {
      await new Promise<void>((resolve) => {
        const limit = this.#clock.timer(closeWithinMs, resolve);
        this.#onIdle = () => {
          limit.cancel();
          resolve();
        };
      });
    }
    this.#timer?.cancel();
    this.#dropped.value += this.#lines.length + (this.#writing?.lines ?? 0);
    this.#lines = [];
    this.#onIdle = undefined;
    // A descriptor with a write under way must not be reused for something else.
    if (this.#fd > 2 && this.#writing === undefined) await new Promise((resolve) => close(this.#fd, resolve));
  }

  #flush(): void {
    if (this.#writing !== undefined) return; // goes on when that write is done
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#lines.length === 0) {
      this.#onIdle?.();
      return;
    }
    const lines = this.#lines.splice(0, this.#fitting());
    const text = lines.join("");
    this.#length -= text.length;
    this.#writing = { bytes: Buffer.from(text), lines: lines.length };
    this.#writeMore();
  }

  /** How many of the lines that wait go into one write; at least one. */
  #fitting(): number {
    if (this.#maxWriteBytes === Infinity) return this.#lines.length;
    let bytes = 0;
    const tooMany = this.#lines.findIndex((line) => (bytes += Buffer.byteLength(line)) > this.#maxWriteBytes);
    return tooMany === -1 ? this.#lines.length : Math.max(1, tooMany);
  }

  #writeMore(): void {
    const current = this.#writing;
    if (current === undefined) return;
    write(this.#fd, current.bytes, (error, written) => {
      if (error?.code === "EAGAIN") {
        if (this.#isClosed && this.#onIdle === undefined) return; // given up
        this.#clock.timer(retryAfterMs, () => this.#writeMore());
        return;
      }
      if (error !== null) this.#dropped.value += current.lines;
      else if (written < current.bytes.length) {
        current.bytes = current.bytes.subarray(written);
        this.#writeMore();
        return;
      }
      this.#writing = undefined;
      this.#flush();
    });
  }
}
