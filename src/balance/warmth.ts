import type { Endpoint } from "../stack/endpoint.js";

/** Share at the very beginning: less would give an endpoint hardly a request to warm up with (Envoy min_weight_percent). */
const coldest = 0.1;

/**
 * Slow start: the share of its weight that an endpoint counts with, from 0.1 on the moment it comes into use to 1 after
 * `slowStartMs`, along a line. Pure.
 * Source: Envoy slow start mode, with an aggression of 1.
 */
export function warmth({ warmingSinceMs }: Endpoint, nowMs: number, slowStartMs: number): number {
  const usedMs = nowMs - warmingSinceMs;
  if (usedMs >= slowStartMs) return 1;
  return Math.max(coldest, usedMs / slowStartMs);
}
