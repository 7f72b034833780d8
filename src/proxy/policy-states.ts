import type { ReplyCacheConfig } from "../config/fallback-config.js";
import type { FaultConfig } from "../config/fault-config.js";
import type { RouteConfig } from "../config/snapshot.js";
import { ReplyCache } from "../policy/reply-cache.js";
import type { PolicyMetrics } from "../telemetry/policy-metrics.js";

/**
 * What policies of routes remember. Routes are composed anew with each snapshot; a change that does not concern a policy leaves
 * its memory as it is. What no route uses any more is forgotten.
 */
export class PolicyStates {
  readonly metrics: PolicyMetrics;
  readonly #onFaultExpired: ((policy: string) => void) | undefined;
  /** Faults whose end was told. Key: the document and its end. */
  readonly #expired = new Set<string>();
  /** Key: the document. */
  readonly #replyCaches = new Map<string, ReplyCache>();

  /** `onFaultExpired` is told of each fault once, with the first request that comes after its end. */
  constructor(metrics: PolicyMetrics, onFaultExpired?: (policy: string) => void) {
    this.metrics = metrics;
    this.#onFaultExpired = onFaultExpired;
  }

  faultExpired({ source, expiresMs }: FaultConfig): void {
    const key = `${source} ${expiresMs}`;
    if (this.#expired.has(key)) return;
    this.#expired.add(key);
    this.#onFaultExpired?.(source);
  }

  /** Forgets what none of these routes has a use for. */
  keepOnly(routes: readonly RouteConfig[]): void {
    if (this.#expired.size > 0) {
      const ends = new Set(routes.map(({ fault }) => `${fault?.source} ${fault?.expiresMs}`));
      for (const key of this.#expired) if (!ends.has(key)) this.#expired.delete(key);
    }
    if (this.#replyCaches.size === 0) return;
    const caching = routes.filter(({ fallback }) => fallback?.action.type === "cached");
    const used = new Set(caching.map(({ fallback }) => fallback?.source));
    for (const policy of this.#replyCaches.keys()) if (!used.has(policy)) this.#replyCaches.delete(policy);
  }

  /** The answers kept for a policy, with these bounds from now on. */
  replyCache(policy: string, config: ReplyCacheConfig): ReplyCache {
    const known = this.#replyCaches.get(policy);
    if (known !== undefined) {
      known.configure(config);
      return known;
    }
    const made = new ReplyCache(config);
    this.#replyCaches.set(policy, made);
    return made;
  }
}
