import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import { bestOfDraws } from "./best-of-draws.js";
import { drawEvenly } from "./draw.js";
import { wantedQualities } from "./panic.js";
import type { PickerOptions } from "./picker-options.js";
import { isUsable, nextUsable, openGate, untried } from "./usable.js";

/** Time constant of the average; linkerd2-proxy. */
const decayMs = 10_000;
/** Stands for the latency of an endpoint that is busy and not measured yet; linkerd2-proxy. */
const defaultLatencyMs = 30;
/** Below the resolution of the clock; keeps a measured 0 apart from "not measured". */
const leastLatencyMs = 0.001;

/**
 * Power of two choices by peak-sensitive latency: of two endpoints drawn at random, the one with the lower
 * latency x (requests under way + 1) / weight.
 * Source: Twitter finagle PeakEwma and tower's tower::load::PeakEwma; Mitzenmacher, "The Power of Two Choices in Randomized
 * Load Balancing", 2001.
 */
export function peakEwma<E extends Endpoint>(endpoints: readonly E[], options: PickerOptions): Picker<E> {
  const { panic, random } = options;
  const { slowStartMs } = options.loadBalancer;
  if (slowStartMs !== undefined) {
    const draw = drawEvenly(endpoints, random, slowStartMs);
    return bestOfDraws(endpoints, { panic, random, draw, choices: 2, cost, slowStartMs });
  }
  const count = endpoints.length;
  return {
    pick(tried, nowMs) {
      if (count === 0) return undefined;
      const first = Math.floor(random() * count);
      let second = count > 1 ? Math.floor(random() * (count - 1)) : first;
      if (count > 1 && second >= first) second++;
      const a = endpoints[first] as E;
      const b = endpoints[second] as E;
      const best = openGate | untried;
      if (isUsable(a, best, tried, nowMs) && isUsable(b, best, tried, nowMs)) return cheaper(a, b, nowMs);
      const wanted = wantedQualities(endpoints, tried, nowMs, panic);
      return wanted < 0 ? undefined : pickAmong(endpoints, first, second, wanted, tried, nowMs);
    },
  };
}

/** Each of the two draws moves on to the next endpoint that will do. */
function pickAmong<E extends Endpoint>(
  endpoints: readonly E[],
  first: number,
  second: number,
  wanted: number,
  tried: readonly Upstream[],
  nowMs: number,
): E | undefined {
  const a = endpoints[nextUsable(endpoints, first, wanted, tried, nowMs)];
  const b = endpoints[nextUsable(endpoints, second, wanted, tried, nowMs)];
  return a === undefined || b === undefined ? undefined : cheaper(a, b, nowMs);
}

function cheaper<E extends Endpoint>(a: E, b: E, nowMs: number): E {
  return cost(b, nowMs) < cost(a, nowMs) ? b : a;
}

/**
 * Expected milliseconds until a request sent now is answered, per unit of weight. An idle endpoint that was never measured
 * costs nothing: it gets one request at once, and its measure decides about the next.
 */
export function cost(endpoint: Endpoint, nowMs: number): number {
  const { latencyMs, inflight } = endpoint;
  if (latencyMs === 0) return (defaultLatencyMs * inflight) / endpoint.config.weight;
  return (estimate(latencyMs, endpoint.latencyAtMs, nowMs) * (inflight + 1)) / endpoint.config.weight;
}

/**
 * The average as of now: without news it decays towards 0, so that an endpoint avoided for its latency is tried again.
 * A measuring time in the future is a penalty: until then a request is as good as waiting.
 */
function estimate(latencyMs: number, atMs: number, nowMs: number): number {
  if (atMs >= nowMs) return latencyMs + (atMs - nowMs);
  return latencyMs * Math.exp((atMs - nowMs) / decayMs);
}

/** A response head came after `latencyMs`: a higher value counts at once (peak), a lower one by the time since the last. */
export function observe(endpoint: Endpoint, latencyMs: number, nowMs: number): void {
  const observedMs = Math.max(leastLatencyMs, latencyMs);
  const { latencyMs: beforeMs, latencyAtMs: atMs } = endpoint;
  // Still under penalty: replies to requests sent before it do not lift it.
  if (atMs > nowMs) return;
  if (beforeMs === 0 || observedMs >= beforeMs) {
    endpoint.latencyMs = observedMs;
  } else {
    const kept = Math.exp((atMs - nowMs) / decayMs);
    endpoint.latencyMs = beforeMs * kept + observedMs * (1 - kept);
  }
  endpoint.latencyAtMs = nowMs;
}

/** There was no usable response within `latencyMs`: raises the estimate or leaves it alone. */
export function observeAtLeast(endpoint: Endpoint, latencyMs: number, nowMs: number): void {
  const { latencyMs: beforeMs, latencyAtMs: atMs } = endpoint;
  if (beforeMs === 0 || latencyMs > estimate(beforeMs, atMs, nowMs)) observe(endpoint, latencyMs, nowMs);
}

/**
 * The endpoint asked for less (429): for `penaltyMs` from now it costs as much as waiting that time out, then its former
 * estimate holds again. Without it a quick refusal would look like a fast endpoint (linkerd load biaser).
 */
export function penalize(endpoint: Endpoint, penaltyMs: number, nowMs: number): void {
  if (endpoint.latencyMs === 0) endpoint.latencyMs = defaultLatencyMs;
  endpoint.latencyAtMs = Math.max(endpoint.latencyAtMs, nowMs + penaltyMs);
}

/** Forgets the estimate: when an ejected endpoint is given another chance, its past latency must not keep it idle. */
export function forget(endpoint: Endpoint): void {
  endpoint.latencyMs = 0;
  endpoint.latencyAtMs = 0;
}

/** The estimator of this picker, for the layer that measures. */
export const peakEwmaLatency = { observe, observeAtLeast, penalize };
