import type { Endpoint } from "../stack/endpoint.js";

/** How old a count may be: an ejection by then counts, and an endpoint whose ejection has run out is seen by then. */
export const recountMs = 100;

/** Endpoints that may get traffic now. */
export function countOpen(endpoints: readonly Endpoint[], nowMs: number): number {
  let open = 0;
  for (const endpoint of endpoints) if (endpoint.gate.isOpen(nowMs)) open++;
  return open;
}

/** The share of open endpoints, counted at most every 100 ms: it is asked for each request. */
export class OpenShare {
  #endpoints: readonly Endpoint[] = [];
  #percent = 0;
  #recountAtMs = -Infinity;

  /**
   * 0 to 100; 0 of none.
   * @param missing further ones that are there and cannot get traffic.
   */
  percent(endpoints: readonly Endpoint[], missing: number, nowMs: number): number {
    if (nowMs < this.#recountAtMs && endpoints === this.#endpoints) return this.#percent;
    const total = endpoints.length + missing;
    this.#endpoints = endpoints;
    this.#recountAtMs = nowMs + recountMs;
    return (this.#percent = total === 0 ? 0 : (countOpen(endpoints, nowMs) * 100) / total);
  }
}
