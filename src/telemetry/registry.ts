import type { Metric, Registry } from "prom-client";
import type { Metrics } from "./metrics.js";

/**
 * The text that Prometheus scrapes. prom-client does the exposition and the process metrics; it is loaded when it is
 * first needed, because it costs tens of milliseconds of start-up.
 */
export class MetricsRegistry {
  readonly #metrics: Metrics;
  #registry: Promise<Registry> | undefined;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  readonly contentType = "text/plain; version=0.0.4; charset=utf-8";

  /** Loads prom-client and starts the process metrics (garbage collections are seen from then on). Idempotent. */
  async start(): Promise<void> {
    await this.#load();
  }

  /** Everything, in Prometheus' text format 0.0.4. */
  async text(): Promise<string> {
    const registry = await this.#load();
    for (const family of this.#metrics.families()) {
      if (family.overflows > 0)
        this.#metrics.seriesOverflows.cell({ metric: family.name }).value = family.overflows;
    }
    return registry.metrics();
  }

  #load(): Promise<Registry> {
    return (this.#registry ??= this.#build());
  }

  async #build(): Promise<Registry> {
    const { collectDefaultMetrics, Registry } = await import("prom-client");
    const registry = new Registry();
    for (const family of this.#metrics.families()) {
      const { name, help, type } = family;
      const read = (): Promise<unknown> => Promise.resolve({ name, help, type, values: family.samples() });
      // The registry asks an object for no more than this (prom-client lib/registry.js).
      registry.registerMetric({ name, getForPromString: read, get: read } as unknown as Metric);
    }
    collectDefaultMetrics({ register: registry });
    return registry;
  }
}
