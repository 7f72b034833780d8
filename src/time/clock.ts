/** The only door to time and chance (besides test/support/fake-clock.ts), so that every state machine can be driven by a test. */
export interface Timer {
  /** Idempotent; the callback does not run after it. */
  cancel(): void;
}

export interface Clock {
  /** Unix time in milliseconds: certificates, logs, files. May jump. */
  wallMs(): number;
  /** Milliseconds that only go forward: durations, timeouts, averages. */
  monotonicMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Runs `fn` once after `delayMs` (>= 0). Does not keep the process alive. */
  timer(delayMs: number, fn: () => void): Timer;
}

/** setTimeout wraps around silently above 2^31-1 ms (24.8 days) and fires at once. */
const maxTimerMs = 2 ** 31 - 1;

class SystemTimer implements Timer {
  readonly #handle: NodeJS.Timeout;
  constructor(delayMs: number, fn: () => void) {
    this.#handle = setTimeout(fn, Math.min(delayMs, maxTimerMs));
    this.#handle.unref();
  }
  cancel(): void {
    clearTimeout(this.#handle);
  }
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  random: () => Math.random(),
  timer: (delayMs, fn) => new SystemTimer(delayMs, fn),
};

/** Resolves after `delayMs`, or as soon as `signal` aborts (then too without an error: the caller checks the signal). */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.timer(delayMs, done);
    signal?.addEventListener("abort", done, { once: true });
  });
}
