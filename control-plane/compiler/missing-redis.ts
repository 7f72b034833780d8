import { type RateLimitSpec, rateLimitList } from "../../src/config/documents/rate-limit.js";
import { documentId } from "../../src/config/documents/document.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { condition, type Condition } from "./condition.js";
import { type MeshIndex, refKey } from "./mesh-index.js";
import { rulesOf } from "./route-rules.js";
import { serviceKey } from "./service-name.js";

/** A sidecar that is connected, as far as stores are concerned. */
export interface StoreUser {
  readonly service: string;
  readonly namespace: string;
  /** Whether it was given a Redis; null: it does not say. */
  readonly hasRedis: boolean | null;
}

/** What a policy counts or keeps in Redis at sidecars that were given none: they go by `onUnavailable`, for good. */
export function missingRedis(
  index: MeshIndex,
  policy: TrafficPolicy,
  sidecars: readonly StoreUser[],
): readonly Condition[] {
  const uses = redisUses(policy);
  if (uses.length === 0) return [];
  return enforcersOf(index, policy).flatMap((key) => {
    const all = sidecars.filter(({ service, namespace }) => serviceKey(service, namespace) === key);
    const without = all.filter(({ hasRedis }) => hasRedis === false).length;
    if (without === 0) return [];
    const message = `service ${key}: ${without} of ${all.length} connected sidecars without --redis-url, where onUnavailable holds for good: ${uses.join("; ")}`;
    return [condition("Surprising", "True", "RedisMissing", message)];
  });
}

const limitAnswers: Readonly<Record<NonNullable<RateLimitSpec["onUnavailable"]>, string>> = {
  local: "each instance counts for itself",
  open: "it lets every request through",
  closed: "it refuses every request",
};

/** What is to be shared, and what becomes of it without Redis. */
function redisUses({ spec }: TrafficPolicy): readonly string[] {
  const limits = spec.rateLimit === undefined ? [] : rateLimitList(spec.rateLimit);
  const uses = limits.flatMap(({ scope, onUnavailable = "local" }, index) => {
    const name = limits.length === 1 ? "rateLimit" : `rateLimit #${index + 1}`;
    return scope === "global" ? [`${name} of scope global: ${limitAnswers[onUnavailable]}`] : [];
  });
  if (spec.idempotency?.store !== "redis") return uses;
  const { onUnavailable = "local" } = spec.idempotency;
  const answer =
    onUnavailable === "local"
      ? "each instance remembers for itself"
      : "requests with an Idempotency-Key are refused";
  return [...uses, `idempotency with store redis: ${answer}`];
}

/** The services at whose sidecars the policy holds: its own, or those that its routes send to. */
function enforcersOf(index: MeshIndex, { spec, metadata: { namespace } }: TrafficPolicy): readonly string[] {
  const keys = spec.targetRefs.flatMap(({ kind, name, sectionName }) => {
    if (kind === "Service") return [serviceKey(name, namespace)];
    const route = index.routes.get(documentId(kind, namespace, name));
    if (route === undefined) return [];
    return rulesOf(route)
      .filter((rule) => sectionName === undefined || rule.name === sectionName)
      .flatMap((rule) => (rule.backendRefs ?? []).map((ref) => refKey(ref, route)));
  });
  return [...new Set(keys)].sort();
}
