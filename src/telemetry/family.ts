import { Counter, Gauge, Histogram } from "./cells.js";

/** Label value of the one cell that takes what no longer fits: a family never grows without end. */
export const overflowLabel = "__other__";

/** Label values longer than this are cut: they come from configuration, but names may be long. */
const maxLabelLength = 200;
const defaultMaxSeries = 1000;

export type LabelValues<L extends string> = Readonly<Record<L, string>>;

export interface FamilyOptions<L extends string> {
  readonly name: string;
  /** One sentence with the unit. */
  readonly help: string;
  readonly labels: readonly L[];
  /** Label sets kept apart; further ones share the overflow cell. */
  readonly maxSeries?: number;
}

/** One exposed number, in the shape that prom-client's Registry takes from an object with getForPromString. */
export interface Sample {
  readonly metricName?: string;
  /** Labels of this number only, for example `le`. */
  readonly labels: Readonly<Record<string, string>>;
  /** Labels that all numbers of a cell share; the same object each time, so that its text is built once. */
  readonly sharedLabels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The numbers of one label set as plain data: what one process hands to another. */
export interface CellState {
  readonly labels: Readonly<Record<string, string>>;
  /** Counter and gauge: the value. Histogram: the count of each bucket, then the sum. */
  readonly numbers: readonly number[];
}

/** What several processes' values of a gauge make together. */
export type GaugeMerge = "sum" | "max" | "min";

interface Entry<C> {
  readonly labels: Readonly<Record<string, string>>;
  readonly cell: C;
}

/** All cells of one metric. Cells are asked for when configuration is applied and kept by whoever counts with them. */
export abstract class Family<L extends string, C> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly L[];
  abstract readonly type: "counter" | "gauge" | "histogram";
  /** Cells asked for beyond maxSeries. */
  overflows = 0;
  readonly #maxSeries: number;
  /** Key: label values as JSON, in the order of `labels`. */
  readonly #entries = new Map<string, Entry<C>>();

  constructor(options: FamilyOptions<L>) {
    this.name = options.name;
    this.help = options.help;
    this.labels = options.labels;
    this.#maxSeries = options.maxSeries ?? defaultMaxSeries;
  }

  /** The cell of a label set: the same object for the same values. */
  cell(labels: LabelValues<L>): C {
    const values = this.labels.map((label) => cut(labels[label]));
    const key = JSON.stringify(values);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.cell;
    const isFull = this.#entries.size >= this.#maxSeries && values.some((value) => value !== overflowLabel);
    if (isFull) {
      this.overflows++;
      return this.#overflowCell();
    }
    return this.#add(key, values);
  }

  /** Forgets a label set, for example of a cluster that is gone. Its cell is no longer exposed. */
  remove(labels: LabelValues<L>): void {
    const key = JSON.stringify(this.labels.map((label) => cut(labels[label])));
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.dropped(entry.cell);
  }

  /** Forgets all label sets. */
  clear(): void {
    for (const { cell } of this.#entries.values()) this.dropped(cell);
    this.#entries.clear();
  }

  /** Label sets now, the overflow cell included. */
  get size(): number {
    return this.#entries.size;
  }

  /** What is exposed now. */
  samples(): Sample[] {
    const samples: Sample[] = [];
    // A counter without labels is 0 before it has counted, so that rate() sees the first one.
    if (this.labels.length === 0 && this.type === "counter") this.cell({} as LabelValues<L>);
    for (const { cell, labels } of this.#entries.values()) this.expose(cell, labels, samples);
    return samples;
  }

  /** What other processes' cells of this family are merged from. */
  state(): CellState[] {
    return [...this.#entries.values()].map(({ cell, labels }) => ({ labels, numbers: this.numbersOf(cell) }));
  }

  /** Merges another process's cells into these: counters and histograms add up, gauges as they were declared. */
  merge(states: readonly CellState[]): void {
    for (const { labels, numbers } of states) {
      const before = this.#entries.size;
      const cell = this.cell(labels as LabelValues<L>);
      this.mergeInto(cell, numbers, this.#entries.size > before);
    }
  }

  protected abstract make(): C;
  protected abstract numbersOf(cell: C): readonly number[];
  /** `isNew`: nothing was merged into the cell before. */
  protected abstract mergeInto(cell: C, numbers: readonly number[], isNew: boolean): void;
  /** A cell that is exposed no more. */
  protected dropped(_cell: C): void {}
  protected abstract expose(cell: C, sharedLabels: Readonly<Record<string, string>>, samples: Sample[]): void;

  #overflowCell(): C {
    const values = this.labels.map(() => overflowLabel);
    const key = JSON.stringify(values);
    return this.#entries.get(key)?.cell ?? this.#add(key, values);
  }

  #add(key: string, values: readonly string[]): C {
    const labels = Object.fromEntries(this.labels.map((label, i) => [label, values[i] ?? ""]));
    const cell = this.make();
    this.#entries.set(key, { labels, cell });
    return cell;
  }
}

const noLabels = {};

export class CounterFamily<L extends string> extends Family<L, Counter> {
  override readonly type = "counter";

  protected override make(): Counter {
    return new Counter();
  }

  protected override numbersOf({ value }: Counter): readonly number[] {
    return [value];
  }

  protected override mergeInto(cell: Counter, [value = 0]: readonly number[]): void {
    cell.value += value;
  }

  protected override expose(cell: Counter, sharedLabels: Record<string, string>, samples: Sample[]): void {
    samples.push({ labels: noLabels, sharedLabels, value: cell.value });
  }
}

export class GaugeFamily<L extends string> extends Family<L, Gauge> {
  override readonly type = "gauge";
  readonly #reads = new Map<Gauge, () => number>();
  readonly #merge: GaugeMerge;

  /** `merge`: what several workers' values make together; "sum" when nothing is said. */
  constructor(options: FamilyOptions<L> & { readonly merge?: GaugeMerge }) {
    super(options);
    this.#merge = options.merge ?? "sum";
  }

  /** A gauge whose value is asked for when it is scraped. A value that is not finite is not exposed. */
  read(labels: LabelValues<L>, value: () => number): void {
    this.#reads.set(this.cell(labels), value);
  }

  protected override dropped(cell: Gauge): void {
    this.#reads.delete(cell);
  }

  protected override make(): Gauge {
    return new Gauge();
  }

  protected override numbersOf(cell: Gauge): readonly number[] {
    return [this.#valueOf(cell)];
  }

  protected override mergeInto(cell: Gauge, [value = 0]: readonly number[], isNew: boolean): void {
    if (isNew) cell.value = value;
    else if (this.#merge === "sum") cell.value += value;
    else cell.value = this.#merge === "max" ? Math.max(cell.value, value) : Math.min(cell.value, value);
  }

  #valueOf(cell: Gauge): number {
    return this.#reads.get(cell)?.() ?? cell.value;
  }

  protected override expose(cell: Gauge, sharedLabels: Record<string, string>, samples: Sample[]): void {
    const value = this.#valueOf(cell);
    if (Number.isFinite(value)) samples.push({ labels: noLabels, sharedLabels, value });
  }
}

export class HistogramFamily<L extends string> extends Family<L, Histogram> {
  override readonly type = "histogram";
  readonly #bounds: Float64Array;
  readonly #bucketLabels: readonly Readonly<Record<string, string>>[];
  readonly #bucketName: string;

  constructor(options: FamilyOptions<L> & { readonly bounds: Float64Array }) {
    super(options);
    this.#bounds = options.bounds;
    this.#bucketLabels = [...options.bounds, "+Inf"].map((bound) => ({ le: String(bound) }));
    this.#bucketName = `${options.name}_bucket`;
  }

  protected override make(): Histogram {
    return new Histogram(this.#bounds);
  }

  protected override numbersOf({ counts, sum }: Histogram): readonly number[] {
    return [...counts, sum];
  }

  protected override mergeInto(cell: Histogram, numbers: readonly number[]): void {
    for (let i = 0; i < cell.counts.length; i++) (cell.counts[i] as number) += numbers[i] ?? 0;
    cell.sum += numbers[cell.counts.length] ?? 0;
  }

  protected override expose(cell: Histogram, sharedLabels: Record<string, string>, samples: Sample[]): void {
    let count = 0;
    this.#bucketLabels.forEach((labels, i) => {
      count += cell.counts[i] ?? 0;
      samples.push({ metricName: this.#bucketName, labels, sharedLabels, value: count });
    });
    samples.push({ metricName: `${this.name}_sum`, labels: noLabels, sharedLabels, value: cell.sum });
    samples.push({ metricName: `${this.name}_count`, labels: noLabels, sharedLabels, value: count });
  }
}

function cut(value: string): string {
  return value.length > maxLabelLength ? value.slice(0, maxLabelLength) : value;
}
