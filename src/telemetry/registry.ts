import type { Metric, Registry } from "prom-client";
import type { Metrics } from "./metrics.js";

/** The metrics of one process that prom-client gathers by itself (CPU, memory, descriptors), as plain data. */
export type ProcessMetrics = readonly unknown[];

export interface RegistryOptions {
  /** Label of this process's own metrics, where several processes are exposed together. */
  readonly worker?: string;
}

/**
 * The text that Prometheus scrapes. prom-client does the exposition and the process metrics; it is loaded when it is
 * first needed, because it costs tens of milliseconds of start-up.
 */
export class MetricsRegistry {
  readonly #options: RegistryOptions;
  #metrics: Metrics;
  #registries: Promise<{ readonly families: Registry; readonly own: Registry }> | undefined;

  constructor(metrics: Metrics, options: RegistryOptions = {}) {
    this.#metrics = metrics;
    this.#options = options;
  }

  readonly contentType = "text/plain; version=0.0.4; charset=utf-8";

  /** Loads prom-client and starts the process metrics (garbage collections are seen from then on). Idempotent. */
  async start(): Promise<void> {
    await this.#load();
  }

  /** Everything, in Prometheus' text format 0.0.4. */
  async text(): Promise<string> {
    const { families, own } = await this.#load();
    return (await this.#familiesText(families)) + (await own.metrics());
  }

  /** The text with `metrics` in the place of our own, and the process metrics of other processes beside ours. */
  protected async textOf(metrics: Metrics, others: readonly ProcessMetrics[]): Promise<string> {
    const { families } = await this.#load();
    this.#metrics = metrics;
    const text = await this.#familiesText(families);
    const { AggregatorRegistry } = await import("prom-client");
    const all = [await this.processMetrics(), ...others].map((each) =>
      // Each series has the label of its process: there is nothing to add up, and nothing to leave out.
      (each as readonly object[]).map((metric) => ({ ...metric, aggregator: "first" })),
    );
    return text + (await AggregatorRegistry.aggregate(all).metrics());
  }

  async processMetrics(): Promise<ProcessMetrics> {
    const { own } = await this.#load();
    return own.getMetricsAsJSON();
  }

  #familiesText(families: Registry): Promise<string> {
    for (const { name, overflows } of this.#metrics.families()) {
      if (overflows > 0) this.#metrics.seriesOverflows.cell({ metric: name }).value = overflows;
    }
    return families.metrics();
  }

  #load(): Promise<{ readonly families: Registry; readonly own: Registry }> {
    return (this.#registries ??= this.#build());
  }

  async #build(): Promise<{ readonly families: Registry; readonly own: Registry }> {
    const { collectDefaultMetrics, Registry } = await import("prom-client");
    const families = new Registry();
    for (const [at, { name, help, type }] of this.#metrics.families().entries()) {
      const read = (): Promise<unknown> =>
        Promise.resolve({ name, help, type, values: this.#metrics.families()[at]?.samples() ?? [] });
      // The registry asks an object for no more than this (prom-client lib/registry.js).
      families.registerMetric({ name, getForPromString: read, get: read } as unknown as Metric);
    }
    const own = new Registry();
    const { worker } = this.#options;
    collectDefaultMetrics({ register: own, ...(worker === undefined ? {} : { labels: { worker } }) });
    return { families, own };
  }
}
