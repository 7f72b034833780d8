import type { SlowCallsConfig } from "./slow-calls-config.js";

/** Breaker of a service as a whole: requests, with their retries, are its calls. */
export interface ServiceBreakerConfig {
  /** 0..1: share of failed requests at which it opens; 0 = failures do not count. */
  readonly failureRatio: number;
  /** Absent: time does not count. */
  readonly slowCalls?: SlowCallsConfig;
  readonly windowMs: number;
  /** Requests in the window below which nothing is judged. */
  readonly minRequests: number;
  /** First opening; it doubles with each further one in a row. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** 0..1: added or taken at random from each opening. */
  readonly jitterRatio: number;
  /** Probes that are let through when an opening is over: never more at once, and so many verdicts decide. */
  readonly halfOpenRequests: number;
  /** After it has closed, the share of requests that are let through grows for so long; 0 = all at once. */
  readonly rampMs: number;
}
