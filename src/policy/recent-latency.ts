/** Bounds of the buckets grow by 2^(1/8): a value is known within 9 %. From 1/16 ms to 2^19 ms, nine minutes. */
const perDoubling = 8;
const lowestPower = -4;
const bucketCount = (19 - lowestPower) * perDoubling;
/** A window is this one and the one before: latencies of the last 10 to 20 seconds. */
const windowMs = 10_000;
/** Fewer say nothing about their slowest. */
const minSamples = 50;
/** How long a percentile is taken for the present one. */
const freshMs = 250;

/** How long requests took lately, as a histogram: memory and cost do not depend on the rate. */
export class RecentLatency {
  #current = new Uint32Array(bucketCount);
  #previous = new Uint32Array(bucketCount);
  #startMs = 0;
  #count = 0;
  #previousCount = 0;
  #known: { readonly percentile: number; readonly atMs: number; readonly value: number | undefined } = {
    percentile: -1,
    atMs: 0,
    value: undefined,
  };

  add(latencyMs: number, nowMs: number): void {
    this.#turn(nowMs);
    const power = Math.log2(Math.max(latencyMs, 2 ** lowestPower)) - lowestPower;
    const index = Math.min(bucketCount - 1, Math.floor(power * perDoubling));
    (this.#current[index] as number)++;
    this.#count++;
  }

  /** The time in which `percentile` percent were done, milliseconds, at most 9 % too long; undefined while too few are known. */
  percentile(percentile: number, nowMs: number): number | undefined {
    const known = this.#known;
    if (known.percentile === percentile && nowMs - known.atMs < freshMs) return known.value;
    const value = this.#compute(percentile, nowMs);
    this.#known = { percentile, atMs: nowMs, value };
    return value;
  }

  #compute(percentile: number, nowMs: number): number | undefined {
    this.#turn(nowMs);
    const total = this.#count + this.#previousCount;
    if (total < minSamples) return undefined;
    let left = (total * percentile) / 100;
    for (let index = 0; index < bucketCount; index++) {
      left -= (this.#current[index] as number) + (this.#previous[index] as number);
      if (left <= 0) return 2 ** ((index + 1) / perDoubling + lowestPower);
    }
    return undefined;
  }

  #turn(nowMs: number): void {
    const behindMs = nowMs - this.#startMs;
    if (behindMs < windowMs) return;
    const spare = this.#previous.fill(0);
    const isNext = behindMs < 2 * windowMs;
    this.#previous = isNext ? this.#current : spare;
    this.#current = isNext ? spare : this.#current.fill(0);
    this.#previousCount = isNext ? this.#count : 0;
    this.#count = 0;
    this.#startMs = nowMs - (behindMs % windowMs);
  }
}
