import type { BreakerConfig } from "../config/breaker-config.js";
import { spreadBackoffMs } from "../time/backoff.js";

/**
 * The life of an endpoint breaker. `ejections` counts the openings in a row without a success between: it makes the next
 * one longer.
 */
export type BreakerState =
  | { readonly state: "closed"; readonly consecutiveFailures: number }
  | {
      readonly state: "open";
      readonly untilMs: number;
      readonly ejections: number;
      readonly reason: TripReason;
    }
  | { readonly state: "half-open"; readonly isProbing: boolean; readonly ejections: number };

export type TripReason =
  | "consecutive-failures"
  | "gateway-errors"
  | "local-origin-failures"
  | "success-ratio"
  | "outlier"
  | "slow-calls"
  | "probe-failed"
  | "probe-slow";

/** What an attempt came to: `gateway` = 502, 503 or 504; `none` = no response at all. */
export type AttemptVerdict = "success" | "failure" | "gateway" | "none";

/** Failures in a row of the kinds that have counts of their own. */
export interface FailureRuns {
  readonly gateway: number;
  readonly local: number;
}

export const noRuns: FailureRuns = { gateway: 0, local: 0 };

/** A response of another kind ends a run: whoever sent it was there. Pure. */
export function nextRuns(runs: FailureRuns, verdict: AttemptVerdict): FailureRuns {
  if (verdict === "none") return { gateway: runs.gateway + 1, local: runs.local + 1 };
  if (verdict === "gateway") return { gateway: runs.gateway + 1, local: 0 };
  return noRuns;
}

export type BreakerInput =
  | { readonly type: "success" }
  | { readonly type: "failure" }
  /** The closed breaker has reason to open and the cluster can spare the endpoint. `chance`: uniform in [0, 1). */
  | {
      readonly type: "trip";
      readonly reason: TripReason;
      readonly nowMs: number;
      readonly chance: number;
    }
  /** The endpoint is looked at; an ejection may have run out. */
  | { readonly type: "look"; readonly nowMs: number }
  | { readonly type: "probe-sent" }
  | { readonly type: "probe-succeeded" }
  | {
      readonly type: "probe-failed";
      readonly reason: TripReason;
      readonly nowMs: number;
      readonly chance: number;
    }
  /** The probe ended without a verdict, for example because its client went away. */
  | { readonly type: "probe-dropped" }
  /** An operator ends the ejection. */
  | { readonly type: "lift" };

/** A fresh endpoint is trusted. */
export const closedBreaker: BreakerState = { state: "closed", consecutiveFailures: 0 };

/** The one transition function. Returns the same object when nothing changes. Pure. */
export function nextBreakerState(
  from: BreakerState,
  input: BreakerInput,
  config: BreakerConfig,
): BreakerState {
  if (input.type === "lift") return from.state === "closed" ? from : closedBreaker;
  switch (from.state) {
    case "closed":
      if (input.type === "success") return closedBreaker;
      if (input.type === "failure")
        return { state: "closed", consecutiveFailures: from.consecutiveFailures + 1 };
      if (input.type === "trip") return opened(0, input.reason, input, config);
      return from;
    case "open":
      // Replies to requests that were sent before the ejection, or in panic, prove nothing about now.
      if (input.type === "look" && input.nowMs >= from.untilMs)
        return { state: "half-open", isProbing: false, ejections: from.ejections };
      return from;
    case "half-open":
      if (input.type === "probe-sent") return { ...from, isProbing: true };
      if (input.type === "probe-dropped") return { ...from, isProbing: false };
      if (input.type === "probe-succeeded") return closedBreaker;
      if (input.type === "probe-failed") return opened(from.ejections, input.reason, input, config);
      return from;
  }
}

/** Why a closed breaker with these counts should open, or undefined. Pure. */
export function tripReason(
  config: BreakerConfig,
  consecutiveFailures: number,
  requestsInWindow: number,
  failuresInWindow: number,
  slowInWindow: number,
  runs: FailureRuns = noRuns,
): TripReason | undefined {
  if (reaches(consecutiveFailures, config.consecutiveFailures)) return "consecutive-failures";
  if (reaches(runs.gateway, config.consecutiveGatewayErrors)) return "gateway-errors";
  if (reaches(runs.local, config.consecutiveLocalOriginFailures)) return "local-origin-failures";
  if (requestsInWindow < Math.max(1, config.minRequests)) return undefined;
  if ((requestsInWindow - failuresInWindow) / requestsInWindow < config.minSuccessRatio)
    return "success-ratio";
  const { slowCalls } = config;
  if (slowCalls !== undefined && slowInWindow / requestsInWindow >= slowCalls.ratio) return "slow-calls";
  return undefined;
}

/** 0 = off. */
function reaches(count: number, limit: number): boolean {
  return limit > 0 && count >= limit;
}

/** How long the ejection after `ejections` others in a row lasts. */
export function ejectionMs(config: BreakerConfig, ejections: number, chance: number): number {
  const { baseEjectionMs: baseMs, maxEjectionMs: maxMs, jitterRatio } = config;
  return spreadBackoffMs({ baseMs, maxMs, jitterRatio }, ejections, chance);
}

function opened(
  ejections: number,
  reason: TripReason,
  input: { readonly nowMs: number; readonly chance: number },
  config: BreakerConfig,
): BreakerState {
  const untilMs = input.nowMs + ejectionMs(config, ejections, input.chance);
  return { state: "open", untilMs, ejections: ejections + 1, reason };
}
