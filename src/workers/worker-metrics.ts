import { Metrics, type MetricsState } from "../telemetry/metrics.js";
import { MetricsRegistry, type ProcessMetrics } from "../telemetry/registry.js";
import type { MetricsReport } from "./messages.js";

/** What all workers report now; undefined: this one does not answer. Key: the worker's process. */
export type Reports<W> = readonly (readonly [W, MetricsReport | undefined])[];

/**
 * The metrics of the primary and its workers as one. Counters never go backwards: the last known counts of a worker that
 * is gone, or does not answer, stay in the sums.
 *
 * @typeParam W one worker process, from its start to its end.
 */
export class WorkerMetrics<W extends object> extends MetricsRegistry {
  readonly #own: Metrics;
  readonly #ask: () => Promise<Reports<W>>;
  readonly #retired = new Metrics();
  /** What each worker that is not gone told last. */
  readonly #last = new Map<W, MetricsState>();
  readonly #gone = new WeakSet<W>();

  /** @param own the primary's. @param ask bounded in time. */
  constructor(own: Metrics, ask: () => Promise<Reports<W>>) {
    super(own, { worker: "primary" });
    this.#own = own;
    this.#ask = ask;
  }

  override async text(): Promise<string> {
    const reports = await this.#ask();
    const processes: ProcessMetrics[] = [];
    const sum = new Metrics();
    sum.merge(this.#own.state());
    const answered = new Set<W>();
    for (const [worker, report] of reports) {
      // It may have ended since, and is among the retired.
      if (report === undefined || this.#gone.has(worker)) continue;
      this.#last.set(worker, report.families);
      answered.add(worker);
      processes.push(report.process);
      sum.merge(report.families);
    }
    for (const [worker, families] of this.#last) if (!answered.has(worker)) sum.merge(families, "counts");
    sum.merge(this.#retired.state(), "counts");
    return this.textOf(sum, processes);
  }

  /** The last word of a worker that is about to end. */
  lastWord(worker: W, families: MetricsState): void {
    if (!this.#gone.has(worker)) this.#last.set(worker, families);
  }

  gone(worker: W): void {
    this.#gone.add(worker);
    this.#retired.merge(this.#last.get(worker) ?? new Map(), "counts");
    this.#last.delete(worker);
  }
}
