/**
 * How often something happened lately: a ring of buckets, so that memory and cost per event do not depend on the rate.
 * Covers the running bucket and the `buckets - 1` before it.
 */
export class SlidingCount {
  readonly #bucketMs: number;
  readonly #counts: number[];
  /** Number of the running bucket since the clock's zero. */
  #bucket = 0;
  #total = 0;

  constructor(bucketMs: number, buckets: number) {
    this.#bucketMs = bucketMs;
    this.#counts = new Array<number>(buckets).fill(0);
  }

  add(nowMs: number): void {
    this.#moveTo(nowMs);
    (this.#counts[this.#bucket % this.#counts.length] as number)++;
    this.#total++;
  }

  total(nowMs: number): number {
    this.#moveTo(nowMs);
    return this.#total;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#total = 0;
  }

  /** A time before the running bucket counts as now. */
  #moveTo(nowMs: number): void {
    const bucket = Math.floor(nowMs / this.#bucketMs);
    if (bucket <= this.#bucket) return;
    if (bucket - this.#bucket >= this.#counts.length) this.reset();
    else
      while (this.#bucket < bucket) {
        const oldest = ++this.#bucket % this.#counts.length;
        this.#total -= this.#counts[oldest] as number;
        this.#counts[oldest] = 0;
      }
    this.#bucket = bucket;
  }
}
