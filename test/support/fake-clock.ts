import type { Clock, Timer } from "../../src/time/clock.js";

interface Entry extends Timer {
  readonly atMs: number;
  readonly order: number;
  readonly fn: () => void;
  isPending: boolean;
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** A clock that stands still until advance(); timers run in order of their time, then of their creation. */
export class FakeClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #wallAtStartMs: number;
  /** A heap, the next one first, since thousands of them may run millions of times; cancelled ones leave when it is their turn. */
  readonly #timers: Entry[] = [];
  #pending = 0;
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
      isPending: true,
      cancel: () => this.#end(entry),
    };
    this.#pending++;
    this.#push(entry);
    return entry;
  }

  get pendingTimers(): number {
    return this.#pending;
  }

  /** Moves time on and runs what falls due, nested timers included. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const [next] = this.#timers;
      if (next === undefined || next.atMs > untilMs) break;
      this.#pop();
      if (!next.isPending) continue;
      this.#end(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fn();
    }
    this.#nowMs = untilMs;
  }

  #end(entry: Entry): void {
    if (entry.isPending) this.#pending--;
    entry.isPending = false;
  }

  #push(entry: Entry): void {
    const timers = this.#timers;
    let at = timers.push(entry) - 1;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const parent = timers[above] as Entry;
      if (!isBefore(entry, parent)) break;
      timers[at] = parent;
      at = above;
    }
    timers[at] = entry;
  }

  #pop(): void {
    const timers = this.#timers;
    const last = timers.pop() as Entry;
    if (timers.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      const [left, right] = [timers[below], timers[below + 1]];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) below++;
      const child = timers[below] as Entry;
      if (!isBefore(child, last)) break;
      timers[at] = child;
      at = below;
    }
    timers[at] = last;
  }
}
