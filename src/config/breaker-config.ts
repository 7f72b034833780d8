import type { OutliersConfig } from "./outliers-config.js";
import type { SlowCallsConfig } from "./slow-calls-config.js";

/** Endpoint breaker. Opens on consecutive failures, or on success rate or slow calls over a window. */
export interface BreakerConfig {
  /** 0 = off. */
  readonly consecutiveFailures: number;
  /** Of those that say that there was no application to answer: 502, 503, 504, and no response at all. 0 = off. */
  readonly consecutiveGatewayErrors: number;
  /** Of those without a response. 0 = off. */
  readonly consecutiveLocalOriginFailures: number;
  /** 0..1; 0 = off. */
  readonly minSuccessRatio: number;
  /** Absent: time does not count. */
  readonly slowCalls?: SlowCallsConfig;
  /** Absent: endpoints are not compared with each other. */
  readonly outliers?: OutliersConfig;
  readonly windowMs: number;
  /** Requests in the window below which neither ratio is judged. */
  readonly minRequests: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  /** 0..1: added or taken at random from each ejection time. */
  readonly jitterRatio: number;
  readonly maxEjectionPercent: number;
}
