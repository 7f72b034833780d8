/**
 * Consul's long poll: read, remember the index, wait for a higher one.
 * Source of the rules: Consul API documentation, "Blocking Queries" (implementation details).
 */
import { fullJitterMs } from "../time/backoff.js";
import type { Clock } from "../time/clock.js";
import { sleep } from "../time/clock.js";
import type { ConsulAnswer, ConsulGet } from "./consul-http.js";

/** The documented default of Consul; it adds up to a sixteenth itself, so that waiters do not come back together. */
const waitMs = 300_000;
/** Answers to one query come at most this often: consul-template's limit, far below the second we promise. */
const spacingMs = 100;
const burst = 2;
/** A first failure is often one lost connection; a lasting one must not turn into a load of its own. */
const backoff = { baseMs: 100, maxMs: 10_000 };

/**
 * The index to wait above next: 0 = read at once instead. "Reset the index if it goes backwards" (a restored snapshot, a
 * new server) and "sanity check index is greater than zero", since waiting above 0 never waits.
 */
export function nextIndex(previous: number, received: number): number {
  if (received < 1) return 1;
  return received < previous ? 0 : received;
}

/** A token bucket: `tokens` of at most 2 at `atMs`, one more every 100 ms. */
export interface Pace {
  readonly tokens: number;
  readonly atMs: number;
}

export const freshPace: Pace = { tokens: burst, atMs: 0 };

/** Spends one token for an answer at `nowMs`; `waitMs` says how long to hold back before the next read. */
export function spend(pace: Pace, nowMs: number): { readonly pace: Pace; readonly waitMs: number } {
  const tokens = Math.min(burst, pace.tokens + Math.max(0, nowMs - pace.atMs) / spacingMs) - 1;
  return { pace: { tokens, atMs: nowMs }, waitMs: Math.max(0, -tokens * spacingMs) };
}

export interface BlockingQueryOptions {
  readonly get: ConsulGet;
  readonly path: string;
  readonly clock: Clock;
  /** Ends the query; nothing is called afterwards. */
  readonly signal: AbortSignal;
  /** Longest wait after a failure, milliseconds (10,000). */
  readonly maxBackoffMs?: number;
  /**
   * Asked after each answer: undefined = long poll. Else read plainly again after so many milliseconds, for when there
   * are more queries than connections.
   */
  readonly pollEveryMs?: () => number | undefined;
  /** Takes an answer. Throwing means that it is not believed, which counts as a failure. */
  readonly onAnswer: (answer: ConsulAnswer) => void | Promise<void>;
  readonly onError: (error: Error) => void;
}

export interface BlockingQuery {
  /** Cuts a wait after a failure short: somebody else has just reached the same agent. */
  retryNow(): void;
}

/** Starts reading at once. Every failure makes the next read a plain one, since the agent may have another index now. */
export function startBlockingQuery(options: BlockingQueryOptions): BlockingQuery {
  const { clock, signal } = options;
  const limits = { ...backoff, maxMs: options.maxBackoffMs ?? backoff.maxMs };
  let retry = new AbortController();

  const run = async (): Promise<void> => {
    let index = 0;
    let failures = 0;
    let pace: Pace = { ...freshPace, atMs: clock.monotonicMs() };
    while (!signal.aborted) {
      try {
        const block = index > 0 ? { index, waitMs } : undefined;
        const answer = await options.get({ path: options.path, consistency: "stale", block, signal });
        if (signal.aborted) return;
        await options.onAnswer(answer);
        failures = 0;
        const pollMs = options.pollEveryMs?.();
        index = pollMs === undefined ? nextIndex(index, answer.index) : 0;
        const next = spend(pace, clock.monotonicMs());
        pace = next.pace;
        const holdMs = Math.max(next.waitMs, pollMs ?? 0);
        if (holdMs > 0) await sleep(clock, holdMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        index = 0;
        options.onError(error instanceof Error ? error : new Error(String(error)));
        retry = new AbortController();
        const holdMs = fullJitterMs(limits, failures++, () => clock.random());
        await sleep(clock, holdMs, retry.signal);
      }
    }
  };
  signal.addEventListener("abort", () => retry.abort(), { once: true });
  void run();
  return { retryNow: () => retry.abort() };
}
