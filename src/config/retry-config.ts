import type { Jitter } from "../time/backoff.js";

/** Retries of a route. */
export interface RetryConfig {
  /** Further attempts after the first, >= 1. */
  readonly attempts: number;
  /** Response statuses (400-599) that are retried. */
  readonly codes: readonly number[];
  /**
   * gRPC statuses that are retried when they come in place of a response (trailers-only): those that Envoy's retry_on has
   * a word for, 1 (cancelled), 4 (deadline-exceeded), 8 (resource-exhausted), 13 (internal), 14 (unavailable).
   */
  readonly grpcCodes: readonly number[];
  /** Methods that may be sent again after the upstream may have worked on them. */
  readonly methods: readonly string[];
  readonly baseBackoffMs: number;
  readonly maxBackoffMs: number;
  /** What the bound of a wait is multiplied with for the next, 1-10. Absent: 2. */
  readonly backoffFactor?: number;
  /** What chance does with a wait. Absent: "full". */
  readonly jitter?: Jitter;
  /** Longest wait that an answer may ask for. Absent: 300 s. */
  readonly maxRetryAfterMs?: number;
  /** Request bytes kept for sending again; a longer body is streamed on and the request is no longer retried. */
  readonly maxReplayBytes: number;
}
