import type { RetryBudgetConfig } from "../config/retry-budget-config.js";
import { SlidingCount } from "./sliding-count.js";

const buckets = 10;

/**
 * Bounds what retries may add to the load of a cluster, however many clients fail at once: in any window, retries are at
 * most `percent` of its requests plus `minRetriesPerSecond` for each of its seconds.
 * Source: finagle RetryBudget and linkerd (20 %, 10/s, 10 s).
 */
export class RetryBudget {
  readonly #config: RetryBudgetConfig;
  readonly #reserve: number;
  // Buckets blur the edge of the window. Requests are counted over a bit less than it and retries over a bit more, so
  // the blur never permits a retry too many.
  readonly #requests: SlidingCount;
  readonly #retries: SlidingCount;

  constructor(config: RetryBudgetConfig) {
    this.#config = config;
    this.#reserve = (config.minRetriesPerSecond * config.windowMs) / 1000;
    this.#requests = new SlidingCount(config.windowMs / buckets, buckets);
    this.#retries = new SlidingCount(config.windowMs / buckets, buckets + 1);
  }

  /** Counts a request (its first attempt). @param nowMs monotonic milliseconds. */
  addRequest(nowMs: number): void {
    this.#requests.add(nowMs);
  }

  /** Spends one retry; false when the budget does not have it. */
  tryRetry(nowMs: number): boolean {
    if (this.available(nowMs) < 1) return false;
    this.#retries.add(nowMs);
    return true;
  }

  /** Retries left at this moment; may be below 1 or negative. */
  available(nowMs: number): number {
    const allowed = (this.#requests.total(nowMs) * this.#config.percent) / 100 + this.#reserve;
    return allowed - this.#retries.total(nowMs);
  }
}
