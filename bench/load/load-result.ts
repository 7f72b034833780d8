/** What a generator of requests saw. */
export interface LoadResult {
  readonly requests: number;
  /** Replies other than 2xx and 3xx, and failed connections, reads, writes and timeouts. */
  readonly errors: number;
  /** Received, heads included. */
  readonly bytes: number;
  readonly durationUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
}
