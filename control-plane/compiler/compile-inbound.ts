import { canonicalJson } from "../../src/config/canonical-json.js";
import type { InboundConfig, InboundRule } from "../../src/config/inbound-config.js";
import { compileAuthorization } from "./compile-authorization.js";
import { mtlsModeOf } from "./mtls-mode.js";
import { compileStreamIdle, compileTunnelIdle } from "./compile-limits.js";
import { everything } from "./compile-match.js";
import { compileIdempotency } from "./compile-idempotency.js";
import { compileLoadShedding } from "./compile-load-shedding.js";
import { compilePriority } from "./compile-priority.js";
import { compileRateLimits } from "./compile-rate-limit.js";
import { type MeshIndex, parentsOf, refKey, type StoredRoute, takesRequests } from "./mesh-index.js";
import { type Policies, policiesForRule, policiesForService } from "./policies-for.js";
import { compareRank, type RankedMatch } from "./route-order.js";
import { matchesOf, type Rule, rulesOf } from "./route-rules.js";

/** What the sidecars of a service do for its instances. */
export function compileInbound(index: MeshIndex, key: string): InboundConfig {
  const protocol = index.policies.get(key)?.policy.spec.protocol;
  const rules = takesRequests(index, key) ? rulesFor(index, key) : [];
  const authorization = compileAuthorization(index, key);
  const tunnelIdle = compileTunnelIdle(policiesForService(index, key));
  return {
    mtlsMode: mtlsModeOf(index, key),
    ...compileLoadShedding(policiesForService(index, key)),
    ...(protocol === undefined ? {} : { protocol }),
    ...(tunnelIdle === undefined ? {} : { tunnelIdle }),
    ...(authorization === undefined ? {} : { authorization }),
    ...(rules.length === 0 ? {} : { rules }),
  };
}

type Sections = Omit<InboundRule, "name" | "match">;

/** What policies ask for at the inbound side, one line each. */
function sectionsOf(policies: Policies): Sections {
  const rateLimits = compileRateLimits(policies);
  const idempotency = compileIdempotency(policies);
  const priority = compilePriority(policies);
  const streamIdle = compileStreamIdle(policies);
  return {
    ...(priority === undefined ? {} : { priority }),
    ...(rateLimits === undefined ? {} : { rateLimits }),
    ...(idempotency === undefined ? {} : { idempotency }),
    ...(streamIdle === undefined ? {} : { streamIdle }),
  };
}

interface Candidate extends RankedMatch {
  readonly rule: InboundRule;
}

/**
 * The matches of every rule that sends requests to the service, in the order in which callers try them, each with what its
 * policies ask for; then what the service's own policy asks for. Routes of a namespace are its callers' affair, so only
 * those of the namespace of the service that they direct callers of count.
 */
function rulesFor(index: MeshIndex, key: string): readonly InboundRule[] {
  const rest: InboundRule = {
    name: "default",
    match: everything,
    ...sectionsOf(policiesForService(index, key)),
  };
  const routes = [...(index.backing.get(key) ?? [])].filter(({ route }) => isProducer(route));
  const rules = routes
    .flatMap((entry) => candidatesOf(index, key, entry))
    .sort(compareRank)
    .map(({ rule }) => rule);
  return withoutIdle([...rules, rest]);
}

function candidatesOf(index: MeshIndex, key: string, entry: StoredRoute): readonly Candidate[] {
  const { route } = entry;
  return rulesOf(route).flatMap((rule, ruleIndex) => {
    if (!sendsTo(rule, key, entry)) return [];
    const sections = sectionsOf(policiesForRule(index, key, route, rule.name));
    return matchesOf(entry, rule, ruleIndex).map((found) => ({
      ...found,
      rule: { name: found.routeName, match: found.match, ...sections },
    }));
  });
}

function sendsTo(rule: Rule, key: string, { route }: StoredRoute): boolean {
  return (rule.backendRefs ?? []).some((ref) => refKey(ref, route) === key);
}

function isProducer(route: StoredRoute["route"]): boolean {
  return parentsOf(route).some((parent) => parent.endsWith(`.${route.metadata.namespace}`));
}

/** Leaves out the last rules that say what the catch-all says, and the catch-all itself when it says nothing. */
function withoutIdle(rules: readonly InboundRule[]): readonly InboundRule[] {
  const said = ({ name, match, ...sections }: InboundRule): string => canonicalJson(sections);
  const kept = [...rules];
  const rest = kept.pop();
  if (rest === undefined) return [];
  const last = said(rest);
  while (kept.length > 0 && said(kept[kept.length - 1] as InboundRule) === last) kept.pop();
  return last === "{}" ? kept : [...kept, rest];
}
