import type { OutliersConfig } from "../config/outliers-config.js";

/** An endpoint among those that are compared. */
export interface Rated {
  /** @returns undefined: it has had fewer requests, or is ejected. */
  readonly gate: { successRate(minRequests: number, nowMs: number): number | undefined };
}

/** What rounding may make of equal rates. */
const tolerance = 1e-9;

/**
 * The success rate below which one of these endpoints is an outlier, as Envoy has it: the mean less so many standard
 * deviations (of the population). undefined: too few to compare. Pure.
 */
export function outlierBound(
  rates: readonly number[],
  { minHosts, stdevFactor }: Pick<OutliersConfig, "minHosts" | "stdevFactor">,
): number | undefined {
  if (rates.length === 0 || rates.length < minHosts) return undefined;
  const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
  const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
  return mean - stdevFactor * Math.sqrt(variance) - tolerance;
}

/**
 * Tells the breakers of one cluster how good its endpoints are together. Asked with each failure, so it looks at all of them
 * only now and then: failures come by the thousand just when there are many.
 */
export class SuccessRates {
  readonly #endpoints: () => readonly Rated[];
  #config: OutliersConfig | undefined;
  #bound: number | undefined;
  #staleAtMs = 0;

  /** @param endpoints those of the cluster that take part in its balancing at the time of the call. */
  constructor(endpoints: () => readonly Rated[]) {
    this.#endpoints = endpoints;
  }

  /** See outlierBound. @param refreshMs how old the answer may be. */
  bound(config: OutliersConfig, nowMs: number, refreshMs: number): number | undefined {
    if (config !== this.#config || nowMs >= this.#staleAtMs) {
      this.#config = config;
      this.#staleAtMs = nowMs + refreshMs;
      const rates = this.#endpoints().map(({ gate }) => gate.successRate(config.minRequests, nowMs));
      this.#bound = outlierBound(
        rates.filter((rate) => rate !== undefined),
        config,
      );
    }
    return this.#bound;
  }
}
