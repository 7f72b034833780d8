/** When a request that is still without an answer is sent to another endpoint as well. */
export interface HedgeConfig {
  readonly after: HedgeDelay;
  /** Further attempts beside the first, 1-3. */
  readonly maxAttempts: number;
  /** Share of the requests, in percent, that may be such attempts. */
  readonly budgetPercent: number;
}

export type HedgeDelay =
  | { readonly type: "delay"; readonly delayMs: number }
  /** The time in which this share of the cluster's latest requests had their answer, in percent, but never less than `minDelayMs`. */
  | { readonly type: "percentile"; readonly percentile: number; readonly minDelayMs: number };
