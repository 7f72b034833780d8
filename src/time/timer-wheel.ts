import type { Clock, Timer } from "./clock.js";

/** What is told when its time has come. */
export interface TimerTarget {
  /** Must not throw. May add and cancel timers. */
  onTimer(): void;
}

/** A timer of the wheel, as its owner holds it. */
export interface WheelTimer {
  /** O(1), idempotent; onTimer does not run after it. */
  cancel(): void;
  /** Starts anew with another delay, also after it fired or was cancelled: for idle timers, without an allocation. */
  restart(delayMs: number): void;
}

/** One tick: the most by which a timer is late on an event loop that is not blocked. */
const tickMs = 10;
/** One turn of the wheel is 5.12 s; longer timers are looked at once per turn. */
const slotCount = 512;
/** A wake-up this late means that the event loop stood still, and replies may wait unread in the kernel. */
const stallMs = 2 * tickMs;

/**
 * All coarse timers of a process on one clock timer: add and cancel are O(1) and cost no setTimeout each. A timer never
 * fires early. It sleeps until the next slot that holds an entry, so an idle wheel costs nothing.
 * Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 6.
 *
 * After an event-loop stall the due timers wait for one turn of I/O: a reply that came in time wins over its timeout.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #originMs: number;
  /** Each slot is the sentinel of a circular list. */
  readonly #slots: readonly Entry[];
  /** Entries taken out of their slots that are about to fire; they can still be cancelled. */
  readonly #due = new Entry(undefined, undefined);
  /** Everything up to here has been looked at. */
  #tick = 0;
  #wake: Wake = { state: "asleep" };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#originMs = clock.monotonicMs();
    this.#slots = Array.from({ length: slotCount }, () => new Entry(undefined, undefined));
  }

  /** @param delayMs >= 0; fires at most one tick (10 ms) later than asked while the event loop runs freely. */
  add(delayMs: number, target: TimerTarget): WheelTimer {
    const entry = new Entry(this, target);
    this.schedule(entry, delayMs);
    return entry;
  }

  /** For Entry.restart only. */
  schedule(entry: Entry, delayMs: number): void {
    const atMs = this.#clock.monotonicMs() - this.#originMs + Math.max(0, delayMs);
    const tick = Math.max(Math.ceil(atMs / tickMs), this.#tick + 1);
    entry.tick = tick;
    entry.insertBefore(this.#slots[tick % slotCount] as Entry);
    const wake = this.#wake;
    if (wake.state === "firing" || (wake.state === "armed" && wake.tick <= tick)) return;
    if (wake.state === "armed") wake.timer.cancel();
    this.#arm(tick);
  }

  #arm(tick: number): void {
    const delayMs = this.#originMs + tick * tickMs - this.#clock.monotonicMs();
    // Whole milliseconds: setTimeout cuts the fraction off and would come early.
    const timer = this.#clock.timer(Math.max(0, Math.ceil(delayMs)), () => this.#onWake(tick));
    this.#wake = { state: "armed", tick, timer };
  }

  #onWake(tick: number): void {
    this.#wake = { state: "firing" };
    const lateMs = this.#clock.monotonicMs() - (this.#originMs + tick * tickMs);
    // The check phase comes after the poll phase, in which the sockets are read.
    if (lateMs > stallMs) setImmediate(() => this.#fire());
    else this.#fire();
  }

  #fire(): void {
    const now = Math.floor((this.#clock.monotonicMs() - this.#originMs) / tickMs);
    for (let tick = Math.max(this.#tick + 1, now - slotCount + 1); tick <= now; tick++) {
      this.#collect(this.#slots[tick % slotCount] as Entry, now);
    }
    this.#tick = Math.max(this.#tick, now);
    try {
      for (let entry = this.#due.next; entry !== this.#due; entry = this.#due.next) {
        entry.cancel();
        entry.target?.onTimer();
      }
    } finally {
      this.#sleep();
    }
  }

  #collect(slot: Entry, now: number): void {
    for (let entry = slot.next; entry !== slot;) {
      const next = entry.next;
      if (entry.tick <= now) entry.insertBefore(this.#due);
      entry = next;
    }
  }

  /** Until the next slot with an entry; an empty wheel sleeps until something is added. */
  #sleep(): void {
    this.#wake = { state: "asleep" };
    // Left over only if a target threw: the others must not wait for it.
    if (this.#due.next !== this.#due) return this.#arm(this.#tick);
    for (let tick = this.#tick + 1; tick <= this.#tick + slotCount; tick++) {
      const slot = this.#slots[tick % slotCount] as Entry;
      if (slot.next !== slot) return this.#arm(tick);
    }
  }
}

type Wake =
  | { readonly state: "asleep" }
  | { readonly state: "armed"; readonly tick: number; readonly timer: Timer }
  /** Also while the firing waits for a turn of I/O. */
  | { readonly state: "firing" };

/** A node of a circular list; linked to itself when it is in none. */
class Entry implements WheelTimer {
  next: Entry = this;
  previous: Entry = this;
  tick = 0;
  readonly target: TimerTarget | undefined;
  readonly #wheel: TimerWheel | undefined;

  constructor(wheel: TimerWheel | undefined, target: TimerTarget | undefined) {
    this.#wheel = wheel;
    this.target = target;
  }

  cancel(): void {
    this.previous.next = this.next;
    this.next.previous = this.previous;
    this.next = this;
    this.previous = this;
  }

  restart(delayMs: number): void {
    this.#wheel?.schedule(this, delayMs);
  }

  insertBefore(other: Entry): void {
    this.cancel();
    this.previous = other.previous;
    this.next = other;
    other.previous.next = this;
    other.previous = this;
  }
}
