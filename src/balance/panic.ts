import type { Endpoint } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter } from "../telemetry/cells.js";
import { nextUsable, openGate, untried } from "./usable.js";

/**
 * Panic: so few endpoints are open that sending everything to them would break them too, while the ejected ones may not be
 * that bad. Then ejection is ignored. Pure.
 * Source: Envoy healthy_panic_threshold.
 *
 * @param thresholdPercent 0..100; 0 = never panic.
 */
export function isPanic(open: number, total: number, thresholdPercent: number): boolean {
  return total > 0 && open * 100 < total * thresholdPercent;
}

/** What a picker has to know when an endpoint it would have taken cannot be taken. */
export interface PanicRule {
  readonly thresholdPercent: number;
  /** Counts picks that ignored ejection. */
  readonly panics: Counter;
}

/**
 * The qualities that a pick must ask for: open and untried if such an endpoint exists, else open, else (panic) untried,
 * else none. -1: nothing may be sent. Costs a walk over the set, so pickers ask only when something is out of order.
 */
export function wantedQualities(
  endpoints: readonly Endpoint[],
  tried: readonly Upstream[],
  nowMs: number,
  rule: PanicRule,
): number {
  let open = 0;
  for (const endpoint of endpoints) if (endpoint.gate.isOpen(nowMs)) open++;
  const has = (wanted: number): boolean => nextUsable(endpoints, 0, wanted, tried, nowMs) >= 0;
  if (isPanic(open, endpoints.length, rule.thresholdPercent)) {
    rule.panics.value++;
    return has(untried) ? untried : 0;
  }
  if (open === 0) return -1;
  return has(openGate | untried) ? openGate | untried : openGate;
}
