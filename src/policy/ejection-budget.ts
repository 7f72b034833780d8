/** What the budget asks of an endpoint. */
export interface Ejectable {
  readonly gate: { readonly isEjected: boolean };
}

/**
 * How many endpoints of `total` may be ejected at once, in whole numbers: half of 10 is 5, of 3 is 1, of 2 is 1, of 1 is
 * none. Whatever the percentage, a pair may lose one (else small clusters would never be protected, as with Envoy's 10 %),
 * and the last one stays, unless another cluster stands behind this one and the percentage is 100.
 */
export function maxEjections(total: number, maxEjectionPercent: number, hasFailover = false): number {
  if (hasFailover && maxEjectionPercent >= 100) return total;
  if (maxEjectionPercent <= 0 || total < 2) return 0;
  return Math.min(total - 1, Math.max(1, Math.floor((total * maxEjectionPercent) / 100)));
}

/**
 * Keeps the breakers of one cluster from ejecting too many of its endpoints. It counts them each time an ejection is
 * asked for (rare) instead of keeping books, so endpoints that come and go cannot put it out of step.
 */
export class EjectionBudget {
  /** Replaced when the cluster's configuration changes. */
  maxEjectionPercent: number;
  /** Does another cluster take over when none is left? Replaced with the configuration, too. */
  hasFailover = false;
  /** An operator holds the breakers closed: nothing is ejected. */
  isHeld = false;
  readonly #endpoints: () => readonly Ejectable[];

  /** @param endpoints those of the cluster that take part in its balancing at the time of the call. */
  constructor(maxEjectionPercent: number, endpoints: () => readonly Ejectable[]) {
    this.maxEjectionPercent = maxEjectionPercent;
    this.#endpoints = endpoints;
  }

  /** May one more endpoint be ejected? */
  mayEject(): boolean {
    if (this.isHeld) return false;
    const endpoints = this.#endpoints();
    let ejected = 0;
    for (const endpoint of endpoints) if (endpoint.gate.isEjected) ejected++;
    return ejected < maxEjections(endpoints.length, this.maxEjectionPercent, this.hasFailover);
  }
}
