import { defaultWindowBytes } from "./frame.js";
import type { FloodGuard } from "./flood-guard.js";
import type { FrameWriter } from "./frame-writer.js";

/** A stream that waits for the connection's window or its socket. */
export interface QueuedOutput {
  /** It stands in the queue; written by the queue only. */
  isQueued: boolean;
  /** Writes at most one DATA frame, or lets its source go on. True: it wants another turn. */
  takeTurn(): boolean;
}

/** Slots of the array behind the head of the queue at which they are given back. */
const compactFrom = 64;

/**
 * Who may send DATA next on a connection: streams take turns, one frame each, so that one large body cannot starve the
 * others. Holds the connection's send window (RFC 9113 §5.2).
 */
export class SendQueue {
  readonly writer: FrameWriter;
  readonly guard: FloodGuard;
  /** May be negative for a stream, never for the connection. */
  window = defaultWindowBytes;
  #queue: QueuedOutput[] = [];
  #first = 0;
  #isPumping = false;

  constructor(writer: FrameWriter, guard: FloodGuard) {
    this.writer = writer;
    this.guard = guard;
  }

  /** A stream may send now, without a turn: nobody waits. */
  get isFree(): boolean {
    return this.#first === this.#queue.length && !this.writer.isBlocked;
  }

  add(output: QueuedOutput): void {
    if (output.isQueued) return;
    output.isQueued = true;
    this.#queue.push(output);
  }

  /** The window, the socket or a stream has room again. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    while (this.#first < this.#queue.length && this.window > 0 && !this.writer.isBlocked) {
      const output = this.#queue[this.#first++] as QueuedOutput;
      output.isQueued = false;
      if (output.takeTurn()) this.add(output);
      if (this.#first >= compactFrom) this.#compact();
    }
    if (this.#first === this.#queue.length) this.#compact();
    this.#isPumping = false;
  }

  #compact(): void {
    this.#queue.splice(0, this.#first);
    this.#first = 0;
  }
}
