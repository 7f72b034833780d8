import type { IdempotencyConfig } from "../config/idempotency-config.js";
import { maxExecutions } from "../config/idempotency-defaults.js";
import { KeptByName } from "../lifecycle/kept-by-name.js";
import type { IdempotencyMetrics } from "../telemetry/idempotency-metrics.js";
import type { Clock } from "../time/clock.js";
import { MemoryStore, type MemoryStoreLimits } from "./idempotency-memory.js";
import type { IdempotencyStores } from "./idempotency-store.js";

/** Stores in the memory of this process. */
export class MemoryStores implements IdempotencyStores {
  readonly #metrics: IdempotencyMetrics;
  readonly #clock: Clock;
  /** Key: name of the configuration. */
  readonly #stores = new KeptByName<MemoryStore>();

  constructor(metrics: IdempotencyMetrics, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
  }

  store(config: IdempotencyConfig): MemoryStore {
    const { name } = config;
    const limits = limitsOf(config);
    const known = this.#stores.get(name);
    known?.configure(limits);
    const store = known ?? this.#made(name, limits);
    this.#stores.ask(name, store);
    return store;
  }

  settle(): void {
    this.#stores.settle((name, store) => this.#forget(name, store));
  }

  #made(policy: string, limits: MemoryStoreLimits): MemoryStore {
    const { entries, bytes, executions, evictions } = this.#metrics;
    const store = new MemoryStore(limits, evictions.cell({ policy }), this.#clock);
    entries.read({ policy }, () => store.entries);
    bytes.read({ policy }, () => store.bytes);
    executions.read({ policy }, () => store.executions);
    return store;
  }

  #forget(policy: string, store: MemoryStore): void {
    const { entries, bytes, executions, evictions } = this.#metrics;
    store.close();
    for (const family of [entries, bytes, executions, evictions]) family.remove({ policy });
  }
}

function limitsOf({ ttlMs, maxEntries, maxStoreBytes }: IdempotencyConfig): MemoryStoreLimits {
  return { ttlMs, maxEntries, maxBytes: maxStoreBytes, maxExecutions };
}
