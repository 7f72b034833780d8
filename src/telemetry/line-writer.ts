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
  #lines: string[] = [];
  #length = 0;
  #timer: Timer | undefined;
  /** Bytes on their way and the lines they hold. */
  #writing: { bytes: Buffer; lines: number } | undefined;
  #onIdle: (() => void) | undefined;
  #isClosed = false;

  /** `dropped` counts lines that were lost. The descriptor belongs to the writer unless it is 1 or 2. */
  constructor(fd: number, clock: Clock, dropped: Counter) {
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
    this.#writing = { bytes: Buffer.from(this.#lines.join("")), lines: this.#lines.length };
    this.#lines = [];
    this.#length = 0;
    this.#writeMore();
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
