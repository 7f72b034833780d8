/** Bounds of what one HTTP/1 message may cost before it is refused. Bytes count as received. */
export interface Http1Limits {
  /** Start line, fields and the empty line together. Over it: 431 for requests, 502 for responses. */
  readonly maxHeadBytes: number;
  /** Field lines of a head, and of a trailer section, hop-by-hop ones included. */
  readonly maxHeaders: number;
  /** Request target. Over it: 414. Less than maxHeadBytes, so that there is room for the fields. */
  readonly maxTargetBytes: number;
  /** Chunk extensions of one message together: they are dropped, so nobody needs more (CVE-2023-39326). */
  readonly maxChunkExtensionBytes: number;
  /** Trailer section. */
  readonly maxTrailerBytes: number;
}

/** Envoy's head limit rounded up; count between Envoy's and hyper's 100 and Node's 1,000. */
export const http1Limits: Http1Limits = {
  maxHeadBytes: 64 * 1024,
  maxHeaders: 200,
  maxTargetBytes: 60 * 1024,
  maxChunkExtensionBytes: 16 * 1024,
  maxTrailerBytes: 16 * 1024,
};
