import type { IdempotencyConfig } from "../config/idempotency-config.js";
import type { InboundRule } from "../config/inbound-config.js";
import { KeptByName } from "../lifecycle/kept-by-name.js";
import type { Layer } from "../stack/service.js";
import type { IdempotencyMetrics } from "../telemetry/idempotency-metrics.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { idempotency, type IdempotencyMeters } from "./idempotency.js";
import type { IdempotencyStores } from "./idempotency-store.js";

export interface IdempotenciesOptions {
  /** Our own SPIFFE id. */
  readonly service: string;
  readonly stores: IdempotencyStores;
  readonly metrics: IdempotencyMetrics;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
}

/** Values of the label `result`, by meter. */
const results = {
  executed: "executed",
  freed: "freed",
  replayed: "replayed",
  conflicts: "conflict",
  mismatches: "mismatch",
  notKept: "not_kept",
  invalid: "invalid",
  refused: "refused",
} as const satisfies Record<keyof IdempotencyMeters, string>;

/** The idempotency of the inbound side. */
export class Idempotencies {
  readonly #options: IdempotenciesOptions;
  /** Names of configurations whose results are counted. */
  readonly #names = new KeptByName<true>();

  constructor(options: IdempotenciesOptions) {
    this.#options = options;
  }

  /** The layer of a rule, if it has idempotency. */
  layers({ idempotency: config }: InboundRule): readonly Layer[] {
    if (config === undefined) return [];
    const { stores, ...options } = this.#options;
    this.#names.ask(config.name, true);
    return [idempotency({ ...options, config, store: stores.store(config), meters: this.#meters(config) })];
  }

  /** Forgets what no rule asked for since the last time. */
  settle(): void {
    const { metrics, stores } = this.#options;
    this.#names.settle((policy) => {
      for (const result of Object.values(results)) metrics.requests.remove({ policy, result });
    });
    stores.settle();
  }

  #meters({ name: policy }: IdempotencyConfig): IdempotencyMeters {
    const cell = (meter: keyof IdempotencyMeters) =>
      this.#options.metrics.requests.cell({ policy, result: results[meter] });
    return {
      executed: cell("executed"),
      freed: cell("freed"),
      replayed: cell("replayed"),
      conflicts: cell("conflicts"),
      mismatches: cell("mismatches"),
      notKept: cell("notKept"),
      invalid: cell("invalid"),
      refused: cell("refused"),
    };
  }
}
