import type { IdempotencyConfig } from "../config/idempotency-config.js";
import { maxExecutions } from "../config/idempotency-defaults.js";
import { KeptByName } from "../lifecycle/kept-by-name.js";
import type { SharedStore } from "../redis/redis-store.js";
import type { IdempotencyMetrics } from "../telemetry/idempotency-metrics.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import type { MemoryStores } from "./idempotency-memories.js";
import { RedisIdempotencyStore } from "./idempotency-redis.js";
import type { IdempotencyStore, IdempotencyStores } from "./idempotency-store.js";

export interface SharedStoresOptions {
  readonly memory: MemoryStores;
  /** undefined: this sidecar has no Redis. */
  readonly shared: SharedStore | undefined;
  /** The trust domain: several meshes may use one Redis. */
  readonly mesh: string;
  readonly metrics: IdempotencyMetrics;
  readonly wheel: TimerWheel;
  /** A configuration that wants Redis, on a sidecar without one. */
  readonly onUnshared: (config: IdempotencyConfig) => void;
}

/** Each configuration's store where it wants it: in memory, or in Redis with the memory beside it. */
export class SharedStores implements IdempotencyStores {
  readonly #options: SharedStoresOptions;
  /** Names of configurations with series of their own. */
  readonly #names = new KeptByName<true>();

  constructor(options: SharedStoresOptions) {
    this.#options = options;
  }

  store(config: IdempotencyConfig): IdempotencyStore {
    const { memory, shared, mesh, metrics, wheel, onUnshared } = this.#options;
    const { name, onUnavailable, ttlMs } = config;
    const local = memory.store(config);
    if (config.store === "memory") return local;
    if (shared === undefined && this.#names.get(name) === undefined) onUnshared(config);
    shared?.start();
    this.#names.ask(name, true);
    const unavailable = metrics.unavailable.cell({ policy: name });
    const prefix = `remora/${mesh}/once`;
    return new RedisIdempotencyStore({
      ...{ shared, prefix, local, onUnavailable, ttlMs, maxExecutions, unavailable, wheel },
    });
  }

  settle(): void {
    const { memory, metrics } = this.#options;
    this.#names.settle((policy) => metrics.unavailable.remove({ policy }));
    memory.settle();
  }
}
