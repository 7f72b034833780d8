import type { ServiceBreakerConfig } from "../config/service-breaker-config.js";
import { spreadBackoffMs } from "../time/backoff.js";

/** Why a service breaker opened. */
export type OpenReason = "failure-ratio" | "slow-calls" | "probes-failed" | "probes-slow";

/** Verdicts on requests. */
export interface Verdicts {
  readonly requests: number;
  readonly failures: number;
  readonly slow: number;
}

/**
 * The life of a service breaker. `openings` counts those in a row: each makes the next one longer. Closed again, it counts
 * on until the service has proven itself. `rampFromMs`: since when its share of requests grows; -Infinity = it has all.
 */
export type ServiceBreakerState =
  | {
      readonly state: "closed";
      readonly openings: number;
      readonly sinceMs: number;
      readonly rampFromMs: number;
    }
  | {
      readonly state: "open";
      readonly openings: number;
      readonly sinceMs: number;
      readonly untilMs: number;
      readonly reason: OpenReason;
      /** What it was judged by. */
      readonly verdicts: Verdicts;
    }
  | {
      readonly state: "half-open";
      readonly openings: number;
      readonly sinceMs: number;
      /** On probes. */
      readonly verdicts: Verdicts;
    };

export type ServiceBreakerInput =
  /** The window of the closed breaker is bad enough. `chance`: uniform in [0, 1). */
  | {
      readonly type: "trip";
      readonly reason: OpenReason;
      readonly verdicts: Verdicts;
      readonly nowMs: number;
      readonly chance: number;
    }
  /** A request is about to be sent; the opening may be over. */
  | { readonly type: "look"; readonly nowMs: number }
  /** The verdict on a probe of this half-open state. */
  | {
      readonly type: "probe";
      readonly isFailure: boolean;
      readonly isSlow: boolean;
      readonly nowMs: number;
      readonly chance: number;
    }
  /** An operator closes it. */
  | { readonly type: "close"; readonly nowMs: number; readonly isRamped: boolean };

/** A service is trusted until it fails. */
export function closedServiceBreaker(nowMs: number, isRamped = false): ServiceBreakerState {
  return { state: "closed", openings: 0, sinceMs: nowMs, rampFromMs: isRamped ? nowMs : -Infinity };
}

const noVerdicts: Verdicts = { requests: 0, failures: 0, slow: 0 };

/** The one transition function. Returns the same object when nothing changes. Pure. */
export function nextServiceBreakerState(
  from: ServiceBreakerState,
  input: ServiceBreakerInput,
  config: ServiceBreakerConfig,
): ServiceBreakerState {
  if (input.type === "close") {
    return closedServiceBreaker(input.nowMs, input.isRamped);
  }
  switch (from.state) {
    case "closed": {
      if (input.type !== "trip") return from;
      // Soon after it closed, it is the same trouble still.
      const isSoon = input.nowMs - from.sinceMs < Math.max(config.rampMs, config.windowMs);
      return opened(isSoon ? from.openings : 0, input, config);
    }
    case "open":
      // Answers to requests that were sent before it opened prove nothing about now.
      if (input.type !== "look" || input.nowMs < from.untilMs) return from;
      return {
        state: "half-open",
        openings: from.openings,
        sinceMs: input.nowMs,
        verdicts: noVerdicts,
      };
    case "half-open":
      return input.type === "probe" ? afterProbe(from, input, config) : from;
  }
}

function afterProbe(
  from: ServiceBreakerState & { readonly state: "half-open" },
  input: ServiceBreakerInput & { readonly type: "probe" },
  config: ServiceBreakerConfig,
): ServiceBreakerState {
  const { nowMs, chance } = input;
  const verdicts = {
    requests: from.verdicts.requests + 1,
    failures: from.verdicts.failures + (input.isFailure ? 1 : 0),
    slow: from.verdicts.slow + (input.isSlow ? 1 : 0),
  };
  // Of all probes, not of those so far: it opens as soon as the others cannot change it any more.
  const bad = badness(config, { ...verdicts, requests: config.halfOpenRequests });
  if (bad !== undefined) {
    const reason = bad === "failure-ratio" ? "probes-failed" : "probes-slow";
    return opened(from.openings, { reason, verdicts, nowMs, chance }, config);
  }
  if (verdicts.requests < config.halfOpenRequests) return { ...from, verdicts };
  return { state: "closed", openings: from.openings, sinceMs: nowMs, rampFromMs: nowMs };
}

/** Why a closed breaker with this window should open, or undefined. Pure. */
export function openReason(config: ServiceBreakerConfig, window: Verdicts): OpenReason | undefined {
  return window.requests < Math.max(1, config.minRequests) ? undefined : badness(config, window);
}

function badness(
  { failureRatio, slowCalls }: ServiceBreakerConfig,
  { requests, failures, slow }: Verdicts,
): "failure-ratio" | "slow-calls" | undefined {
  if (failureRatio > 0 && failures / requests >= failureRatio) return "failure-ratio";
  return slowCalls !== undefined && slow / requests >= slowCalls.ratio ? "slow-calls" : undefined;
}

/** So much is let through at once when a breaker has closed: a ramp from nothing would never learn anything. */
const leastShare = 0.1;

/** Share of the requests that a closed breaker lets through, 0..1: it grows in a straight line. Pure. */
export function rampShare(
  state: ServiceBreakerState,
  { rampMs }: ServiceBreakerConfig,
  nowMs: number,
): number {
  if (state.state !== "closed") return 0;
  const passedMs = nowMs - state.rampFromMs;
  return passedMs >= rampMs ? 1 : leastShare + ((1 - leastShare) * Math.max(0, passedMs)) / rampMs;
}

function opened(
  openings: number,
  { reason, verdicts, nowMs, chance }: Omit<ServiceBreakerInput & { readonly type: "trip" }, "type">,
  config: ServiceBreakerConfig,
): ServiceBreakerState {
  const { openMs: baseMs, maxOpenMs: maxMs, jitterRatio } = config;
  const untilMs = nowMs + spreadBackoffMs({ baseMs, maxMs, jitterRatio }, openings, chance);
  return { state: "open", openings: openings + 1, sinceMs: nowMs, untilMs, reason, verdicts };
}
