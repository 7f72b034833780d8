/** Endpoint breaker. Opens on consecutive failures, or on the success rate over a window. */
export interface BreakerConfig {
  /** 0 = off. */
  readonly consecutiveFailures: number;
  /** 0..1; 0 = off. */
  readonly minSuccessRatio: number;
  readonly windowMs: number;
  /** Requests in the window below which the ratio is not judged. */
  readonly minRequests: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  /** 0..1: added or taken at random from each ejection time. */
  readonly jitterRatio: number;
  readonly maxEjectionPercent: number;
}
