/** Each bucket is so many times as wide as the one before: the error of the median. */
const growth = 1.05;
const leastMs = 0.05;
/** Up to ten minutes. */
const buckets = Math.ceil(Math.log(600_000 / leastMs) / Math.log(growth));

/** Latencies of a while, and their median, within 3 %. Memory and cost do not depend on how many there are. */
export class LatencyWindow {
  readonly #counts = new Uint32Array(buckets);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(latencyMs: number): void {
    const bucket = Math.floor(Math.log(Math.max(latencyMs, leastMs) / leastMs) / Math.log(growth));
    (this.#counts[Math.min(bucket, buckets - 1)] as number)++;
    this.#count++;
  }

  /** Milliseconds; 0 without any. */
  median(): number {
    if (this.#count === 0) return 0;
    let seen = 0;
    let bucket = -1;
    while (seen * 2 < this.#count) seen += this.#counts[++bucket] as number;
    return leastMs * growth ** (bucket + 0.5);
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
  }
}
