/** How a bucket is filled. */
export interface BucketSize {
  /** Tokens per period. */
  readonly requests: number;
  readonly perMs: number;
  /** Tokens that it holds at most; it begins full. */
  readonly burst: number;
}

/** Sums of fractions may lack this much of a whole token. */
const rounding = 1e-9;

/** The tokens of one key. */
export class Bucket {
  tokens: number;
  /** When `tokens` was right. */
  atMs: number;

  constructor(tokens: number, atMs: number) {
    this.tokens = tokens;
    this.atMs = atMs;
  }
}

/**
 * A token bucket for each key: in any span of t milliseconds a key takes at most burst + t * requests / perMs tokens.
 * Bounded: beyond `maxKeys` the key that was asked for the longest ago is forgotten, and would begin with a full bucket.
 */
export class TokenBuckets {
  #size: BucketSize;
  readonly #maxKeys: number;
  /** In the order in which they were asked for, the last one last. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(size: BucketSize, maxKeys: number) {
    this.#size = size;
    this.#maxKeys = maxKeys;
  }

  get count(): number {
    return this.#buckets.size;
  }

  /** Other sizes from now on; what was taken stays taken. */
  configure(size: BucketSize): void {
    this.#size = size;
  }

  /** The bucket of a key as it is now. Valid until the next call. */
  at(key: string, nowMs: number): Bucket {
    let bucket = this.#buckets.get(key);
    if (bucket !== undefined) this.#buckets.delete(key);
    else {
      if (this.#buckets.size >= this.#maxKeys) this.#forgetOldest();
      bucket = new Bucket(this.#size.burst, nowMs);
    }
    this.#buckets.set(key, bucket);
    this.#fill(bucket, nowMs);
    return bucket;
  }

  /** Milliseconds until the bucket holds a token; 0 when it does. */
  waitMs({ tokens }: Bucket): number {
    if (tokens >= 1 - rounding) return 0;
    return ((1 - tokens) * this.#size.perMs) / this.#size.requests;
  }

  /** Takes a token, which must be there. */
  take(bucket: Bucket): void {
    bucket.tokens = Math.max(0, bucket.tokens - 1);
  }

  /** Undoes a `take`. */
  giveBack(bucket: Bucket): void {
    bucket.tokens = Math.min(this.#size.burst, bucket.tokens + 1);
  }

  #fill(bucket: Bucket, nowMs: number): void {
    const { requests, perMs, burst } = this.#size;
    const elapsedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.tokens = Math.min(burst, bucket.tokens + (elapsedMs * requests) / perMs);
    bucket.atMs = Math.max(bucket.atMs, nowMs);
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
