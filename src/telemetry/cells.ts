/**
 * Metric cells: what the hot path touches. A cell is resolved from its label set when configuration is applied; a request
 * then costs one addition. prom-client reads the cells only when it is scraped (registry.ts).
 */
export class Counter {
  value = 0;
}

export class Gauge {
  value = 0;
}

/** Fixed buckets, cumulative only when exported. */
export class Histogram {
  /** Upper bounds, ascending; values above the last go to +Inf. */
  readonly bounds: Float64Array;
  /** Count per bucket, one more than bounds for +Inf. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.bounds;
    let i = 0;
    // Linear: latencies are short, so the first few bounds settle almost every observation.
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    (this.counts[i] as number)++;
    this.sum += value;
  }
}
