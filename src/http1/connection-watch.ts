import type { ServerTimeouts } from "../stack/server-timeouts.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";

export interface WatchOwner {
  /** A request is under way. */
  readonly isBusy: boolean;
  /** streamIdleMs of silence while a request is under way; told again after each further one. */
  streamIdled(): void;
  /** headMs since the first byte of a head that is not complete. */
  headLate(): void;
  /** idleMs without a request. */
  connectionIdled(): void;
}

/** One timer per server connection that looks what is due, so that a request costs no timer. */
export class ConnectionWatch implements TimerTarget {
  readonly #wheel: TimerWheel;
  readonly #clock: Clock;
  readonly #timeouts: ServerTimeouts;
  readonly #owner: WatchOwner;
  #timer: WheelTimer;
  /** Monotonic milliseconds of the last byte in either direction. */
  activeAtMs: number;
  /** When the first byte of an unfinished head came; -1 = none has. */
  #headSinceMs = -1;

  constructor(wheel: TimerWheel, clock: Clock, timeouts: ServerTimeouts, owner: WatchOwner) {
    this.#wheel = wheel;
    this.#clock = clock;
    this.#timeouts = timeouts;
    this.#owner = owner;
    this.activeAtMs = clock.monotonicMs();
    this.#timer = this.#arm(timeouts.headMs);
  }

  get isInHead(): boolean {
    return this.#headSinceMs >= 0;
  }

  /** Bytes pass by. */
  touch(): void {
    this.activeAtMs = this.#clock.monotonicMs();
  }

  /** Part of a head came with the bytes that last passed by. */
  headBegan(): void {
    if (this.#headSinceMs >= 0) return;
    this.#headSinceMs = this.activeAtMs;
    this.#timer.cancel();
    this.#timer = this.#arm(this.#timeouts.headMs);
  }

  headCame(): void {
    this.#headSinceMs = -1;
  }

  /** For good. */
  stop(): void {
    this.#timer.cancel();
  }

  onTimer(): void {
    const nowMs = this.#clock.monotonicMs();
    const dueMs = this.#dueMs();
    if (nowMs < dueMs) {
      this.#timer = this.#arm(dueMs - nowMs);
    } else if (this.#owner.isBusy) {
      this.#timer = this.#arm(this.#timeouts.streamIdleMs);
      this.#owner.streamIdled();
    } else if (this.#headSinceMs >= 0) {
      this.#owner.headLate();
    } else {
      this.#owner.connectionIdled();
    }
  }

  #arm(delayMs: number): WheelTimer {
    const { streamIdleMs, idleMs } = this.#timeouts;
    return this.#wheel.add(Math.max(1, Math.min(delayMs, streamIdleMs, idleMs)), this);
  }

  #dueMs(): number {
    const { streamIdleMs, headMs, idleMs } = this.#timeouts;
    if (this.#owner.isBusy) return this.activeAtMs + streamIdleMs;
    if (this.#headSinceMs >= 0) return this.#headSinceMs + headMs;
    return this.activeAtMs + idleMs;
  }
}
