/** What the inbound side does when its application is sent more than it can bear. */
export interface LoadSheddingConfig {
  /** Requests of the class default are let in while less than this share of the limit is in use, percent, 1..100. */
  readonly defaultSharePercent: number;
  /** The same for the class batch; at most that of default. Requests of the class critical have all of the limit. */
  readonly batchSharePercent: number;
  /** How the limit is found. Absent: it is the `maxRequests` of the inbound side. */
  readonly adaptive?: AdaptiveConcurrencyConfig;
  /** The document that set it, for error texts. */
  readonly source: string;
}

/** A limit of requests under way that follows the application's latency. */
export interface AdaptiveConcurrencyConfig {
  /** >= 1. */
  readonly minLimit: number;
  /** >= `minLimit`. */
  readonly maxLimit: number;
  /** > 1: how many times the latency without a queue is still taken for no queue. */
  readonly tolerance: number;
  /** >= 1: the limit is judged once in so many milliseconds. */
  readonly windowMs: number;
}
