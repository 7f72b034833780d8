import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { parseDuration } from "../../src/time/duration.js";
import { priorityClasses } from "../../src/traffic/priority.js";
import { condition, type Condition } from "./condition.js";

interface Wait {
  readonly field: string;
  readonly text: string | undefined;
  /** What ends first, and its field. */
  readonly cap: readonly [field: string, text: string | undefined];
  /** What therefore never happens. */
  readonly lost: string;
}

/**
 * Waits that are longer than what they are a part of. Not refused: a route may give its requests more time than the policy of
 * the service does.
 */
export function neverReached(spec: TrafficPolicySpec): readonly Condition[] {
  const told = waitsOf(spec).flatMap(({ field, text, cap: [capField, capText], lost }) => {
    const waitMs = parseDuration(text ?? "0s") ?? 0;
    const capMs = parseDuration(capText ?? "0s") ?? 0;
    if (waitMs === 0 || capMs === 0 || waitMs < capMs) return [];
    return [`${field} (${text}) is not shorter than ${capField} (${capText}): ${lost}`];
  });
  const { retry, retryBudget: budget } = spec;
  if (retry !== undefined && budget?.percent === 0 && budget.minRetriesPerSecond === 0)
    told.push("retryBudget pays for no retry at all: percent and minRetriesPerSecond are 0");
  return told.map((message) => condition("Surprising", "True", "NeverReached", message));
}

function waitsOf(spec: TrafficPolicySpec): readonly Wait[] {
  const { timeouts, retry, hedge, outlierDetection, circuitBreaker, bulkheads } = spec;
  const request = ["timeouts.request", timeouts?.request] as const;
  const attempt =
    retry?.perTryTimeout === undefined
      ? (["timeouts.backendRequest", timeouts?.backendRequest] as const)
      : (["retry.perTryTimeout", retry.perTryTimeout] as const);
  return [
    { field: "hedge.delay", text: hedge?.delay, cap: request, lost: "no second attempt is made" },
    ...[request, attempt].map((cap) => ({
      field: "outlierDetection.slowCalls.threshold",
      text: outlierDetection?.slowCalls?.threshold,
      cap,
      lost: "no attempt lasts long enough to be slow",
    })),
    {
      field: "circuitBreaker.slowCalls.threshold",
      text: circuitBreaker?.slowCalls?.threshold,
      cap: request,
      lost: "no request lasts long enough to be slow",
    },
    ...priorityClasses.map((name) => ({
      field: `bulkheads.${name}.maxWait`,
      text: bulkheads?.[name]?.maxWait,
      cap: request,
      lost: "whoever waits so long has no time left",
    })),
  ];
}
