import { retryDefaults } from "../../src/config/cluster-defaults.js";
import type { Route } from "../../src/config/documents/document.js";
import type { TrafficPolicy, TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { parseDuration } from "../../src/time/duration.js";
import { condition, type Condition } from "./condition.js";
import { takesRequests, type MeshIndex } from "./mesh-index.js";
import { neverReached } from "./never-reached.js";
import { unprovenIdentities } from "./peer-identity.js";
import { rulesOf } from "./route-rules.js";
import { serviceKey } from "./service-name.js";
import { silentOutliers } from "./silent-outliers.js";

/** What is about requests: a connection of raw TCP is neither repeated nor read. */
const requestSections = [
  "retry",
  "timeouts",
  "rateLimit",
  "idempotency",
  "fallback",
  "fault",
  "hedge",
  "loadShedding",
  "adaptiveConcurrency",
  "priority",
] as const satisfies readonly (keyof TrafficPolicySpec)[];

/** What of a policy works, but otherwise than its author may think. */
export function policySurprises(index: MeshIndex, policy: TrafficPolicy): readonly Condition[] {
  const { spec } = policy;
  const { retry, timeouts } = spec;
  const late =
    retry === undefined
      ? undefined
      : lateAttempts({
          attempts: retry.attempts,
          attempt: retry.perTryTimeout ?? timeouts?.backendRequest,
          request: timeouts?.request,
        });
  return [
    ...unreadSections(index, policy),
    ...(late === undefined ? [] : [condition("Surprising", "True", "AttemptsCutShort", late)]),
    ...unsharedKeys(index, policy),
    ...silentOutliers(index, policy),
    ...unprovenIdentities(index, policy),
    ...neverReached(spec),
  ];
}

/** What of a route works, but otherwise than its author may think. */
export function routeSurprises(route: Route): readonly Condition[] {
  return rulesOf(route).flatMap(({ retry, timeouts, name }, at) => {
    if (retry === undefined) return [];
    const late = lateAttempts({
      attempts: retry.attempts,
      attempt: timeouts?.backendRequest,
      request: timeouts?.request,
    });
    const rule = `rule ${name ?? `#${at}`}`;
    return late === undefined
      ? []
      : [condition("Surprising", "True", "AttemptsCutShort", `${rule}: ${late}`)];
  });
}

interface AttemptTimes {
  /** After the first. */
  readonly attempts: number | undefined;
  readonly attempt: string | undefined;
  readonly request: string | undefined;
}

function lateAttempts({
  attempts = retryDefaults.attempts,
  attempt,
  request,
}: AttemptTimes): string | undefined {
  const attemptMs = parseDuration(attempt ?? "0s") ?? 0;
  const requestMs = parseDuration(request ?? "0s") ?? 0;
  const neededMs = (attempts + 1) * attemptMs;
  if (attemptMs === 0 || requestMs === 0 || neededMs <= requestMs) return undefined;
  const fitting = Math.ceil(requestMs / attemptMs);
  return `${attempts + 1} attempts of ${attempt} each do not fit into timeouts.request (${request}): when attempts time out, the request ends during attempt ${fitting}`;
}

function unreadSections(index: MeshIndex, { spec, metadata }: TrafficPolicy): readonly Condition[] {
  const written = requestSections.filter((section) => spec[section] !== undefined);
  if (written.length === 0) return [];
  const opaque = spec.targetRefs
    .filter(({ kind }) => kind === "Service")
    .map(({ name }) => serviceKey(name, metadata.namespace))
    .filter((key) => !takesRequests(index, key));
  return opaque.map((key) => {
    const has = written.length === 1 ? "has" : "have";
    const message = `service ${key} speaks tcp: ${written.join(", ")} ${has} no effect on it`;
    return condition("PartiallyInvalid", "True", "UnsupportedProtocol", message);
  });
}

/** Keys that each instance remembers for itself. */
function unsharedKeys(index: MeshIndex, { spec, metadata }: TrafficPolicy): readonly Condition[] {
  if (spec.idempotency === undefined || spec.idempotency.store === "redis") return [];
  return spec.targetRefs.flatMap(({ kind, name }) => {
    const key = serviceKey(name, metadata.namespace);
    const count = kind === "Service" ? (index.services.get(key)?.instances.length ?? 0) : 0;
    if (count < 2) return [];
    const message = `service ${key} has ${count} instances, and with idempotency.store memory each knows only the keys that it has met: a repetition that reaches another one is executed again; store: redis is for all together`;
    return [condition("Surprising", "True", "KeysNotShared", message)];
  });
}
