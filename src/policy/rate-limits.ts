import type { InboundRule } from "../config/inbound-config.js";
import type { RateLimitConfig } from "../config/rate-limit-config.js";
import { KeptByName } from "../lifecycle/kept-by-name.js";
import type { Layer } from "../stack/service.js";
import type { Metrics } from "../telemetry/metrics.js";
import type { Clock } from "../time/clock.js";
import { Limiter } from "./limiter.js";
import { rateLimit } from "./rate-limit.js";
import type { SharedCounts } from "./shared-counts.js";
import { sharedRateLimit } from "./shared-rate-limit.js";

export interface RateLimitsOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** What all instances count together; undefined: this sidecar has no Redis. */
  readonly counts: SharedCounts | undefined;
  /** A limit that all should count together, on a sidecar without Redis. */
  readonly onUnshared: (limit: RateLimitConfig) => void;
}

/** The rate limits of the inbound side, by name: their buckets outlive every push that still has the limit. */
export class RateLimits {
  readonly #options: RateLimitsOptions;
  readonly #limiters = new KeptByName<Limiter>();

  constructor(options: RateLimitsOptions) {
    this.#options = options;
  }

  /** The layer of a rule, if it has limits. */
  layers({ rateLimits }: InboundRule): readonly Layer[] {
    if (rateLimits === undefined) return [];
    const { clock, counts } = this.#options;
    const limiters = rateLimits.map((config) => this.#limiter(config));
    if (rateLimits.every(({ scope }) => scope === "local")) return [rateLimit(limiters, clock)];
    counts?.start();
    return [sharedRateLimit(limiters, { clock, counts })];
  }

  /** Forgets the limits that nobody asked for since the last time. */
  settle(): void {
    this.#limiters.settle((name) => this.#forget(name));
  }

  #limiter(config: RateLimitConfig): Limiter {
    const known = this.#limiters.get(config.name);
    const limiter = known ?? this.#made(config);
    if (config.scope === "global" && known?.config.scope !== "global" && this.#options.counts === undefined)
      this.#options.onUnshared(config);
    if (known !== undefined) limiter.configure(config);
    this.#limiters.ask(config.name, limiter);
    return limiter;
  }

  #made(config: RateLimitConfig): Limiter {
    const { rateLimitRequests, rateLimitUnavailable } = this.#options.metrics;
    const cell = (result: string) => rateLimitRequests.cell({ limit: config.name, result });
    return new Limiter(config, {
      admitted: cell("admitted"),
      limited: cell("limited"),
      unavailable: rateLimitUnavailable.cell({ limit: config.name }),
    });
  }

  #forget(limit: string): void {
    const { rateLimitRequests, rateLimitUnavailable } = this.#options.metrics;
    for (const result of ["admitted", "limited"]) rateLimitRequests.remove({ limit, result });
    rateLimitUnavailable.remove({ limit });
  }
}
