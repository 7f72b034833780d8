import type { Endpoint } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";

/**
 * Which endpoints a pick may take, as bits, so that the common path allocates nothing. A pick uses the best class that
 * is not empty: untried and open, then tried and open, then (panic) whatever is left.
 */
export const openGate = 1;
export const untried = 2;

/** Does the endpoint have every quality in `wanted` (0: none needed)? */
export function isUsable(
  endpoint: Endpoint,
  wanted: number,
  tried: readonly Upstream[],
  nowMs: number,
): boolean {
  if ((wanted & untried) !== 0 && tried.length > 0 && tried.includes(endpoint)) return false;
  return (wanted & openGate) === 0 || endpoint.gate.isOpen(nowMs);
}

/** Index of the first usable endpoint from `start` on, cyclic; -1 if there is none. */
export function nextUsable(
  endpoints: readonly Endpoint[],
  start: number,
  wanted: number,
  tried: readonly Upstream[],
  nowMs: number,
): number {
  const count = endpoints.length;
  for (let i = 0; i < count; i++) {
    const index = start + i < count ? start + i : start + i - count;
    if (isUsable(endpoints[index] as Endpoint, wanted, tried, nowMs)) return index;
  }
  return -1;
}
