/** When a breaker opens because calls have become slow. */
export interface SlowCallsConfig {
  /** A call is slow whose response head took this long or longer. */
  readonly thresholdMs: number;
  /** 0..1, above 0: the share of slow calls at which the breaker opens. */
  readonly ratio: number;
}
