import type { Clock, Timer } from "../../src/time/clock.js";

interface Entry extends Timer {
  readonly atMs: number;
  readonly order: number;
  readonly fn: () => void;
}

/** A clock that stands still until advance(); timers run in order of their time, then of their creation. */
export class FakeClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #wallAtStartMs: number;
  readonly #timers = new Set<Entry>();
  /** Values that random() returns next; then it repeats the last one. */
  randoms: number[] = [0.5];

  constructor(wallAtStartMs = Date.UTC(2026, 0, 1)) {
    this.#wallAtStartMs = wallAtStartMs;
  }

  wallMs(): number {
    return this.#wallAtStartMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  random(): number {
    return this.randoms.length > 1 ? (this.randoms.shift() as number) : (this.randoms[0] ?? 0.5);
  }

  timer(delayMs: number, fn: () => void): Timer {
    const entry: Entry = {
      atMs: this.#nowMs + delayMs,
      order: this.#order++,
      fn,
      cancel: () => this.#timers.delete(entry),
    };
    this.#timers.add(entry);
    return entry;
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Moves time on and runs what falls due, nested timers included. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      let next: Entry | undefined;
      for (const entry of this.#timers) {
        if (entry.atMs > untilMs) continue;
        if (
          next === undefined ||
          entry.atMs < next.atMs ||
          (entry.atMs === next.atMs && entry.order < next.order)
        )
          next = entry;
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fn();
    }
    this.#nowMs = untilMs;
  }
}
