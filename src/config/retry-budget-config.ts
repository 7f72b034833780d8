/** Bound of all retries to a cluster together. */
export interface RetryBudgetConfig {
  /** Share of requests, in percent, that may be retries. */
  readonly percent: number;
  readonly minRetriesPerSecond: number;
  readonly windowMs: number;
}
