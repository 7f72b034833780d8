import { formatClusterName } from "../../src/config/cluster-name.js";
import type { RouteAction, RouteConfig } from "../../src/config/snapshot.js";
import { compileFallback } from "./compile-fallback.js";
import { compileFault } from "./compile-fault.js";
import { compileFilters } from "./compile-filter.js";
import { compileLimits, type Limits, type OwnLimits } from "./compile-limits.js";
import { everything } from "./compile-match.js";
import { compilePriority } from "./compile-priority.js";
import { compileMirrors } from "./compile-mirrors.js";
import { ownDomains } from "./hostnames.js";
import { type MeshIndex, refKey, routesFor, type StoredRoute, takesRequests } from "./mesh-index.js";
import { type Policies, policiesForRule, policiesForService } from "./policies-for.js";
import { hasSubset } from "./subset.js";
import { compareRank } from "./route-order.js";
import { matchesOf, type NamedMatch, type Rule, rulesOf } from "./route-rules.js";

/**
 * The routes of a service as callers of `namespace` see them, in order of precedence. Without a document there is one
 * that sends everything to the service; with one, what it does not match has no route (404, Gateway API).
 */
export function compileRoutes(index: MeshIndex, key: string, namespace: string): readonly RouteConfig[] {
  const stored = routesFor(index, key, namespace);
  if (stored.length === 0) return [defaultRoute(index, key)];
  return stored
    .flatMap((entry) => candidatesOf(index, entry, { key, namespace }))
    .sort(compareRank)
    .map((candidate) => candidate.config);
}

function defaultRoute(index: MeshIndex, key: string): RouteConfig {
  const policies = policiesForService(index, key);
  // A connection is no request: it lasts as long as its ends want and cannot be sent again.
  const id = policies[0]?.id ?? "default";
  const limits = takesRequests(index, key) ? treatmentOf(index, {}, policies, id) : {};
  return {
    name: "default",
    source: Object.keys(limits).length > 0 ? id : "default",
    hostnames: [],
    match: everything,
    action: { type: "forward", backends: [{ cluster: key, weight: 1 }] },
    ...limits,
  };
}

interface Candidate extends NamedMatch {
  readonly config: RouteConfig;
}

function candidatesOf(
  index: MeshIndex,
  entry: StoredRoute,
  at: { readonly key: string; readonly namespace: string },
): readonly Candidate[] {
  const { route } = entry;
  const further = route.spec.hostnames ?? [];
  // The service keeps its own names beside the further ones.
  const hostnames =
    further.length === 0 ? [] : [...new Set([...further, ...ownDomains(at.key, at.namespace)])].sort();
  return rulesOf(route).flatMap((rule, ruleIndex) => {
    const filters = compileFilters(rule.filters);
    const shared = {
      source: entry.id,
      hostnames,
      action: actionOf(index, entry, rule, filters),
      ...filters.headers,
      ...treatmentOf(index, rule, policiesForRule(index, at.key, route, rule.name), entry.id),
    };
    return matchesOf(entry, rule, ruleIndex).map((found): Candidate => ({
      ...found,
      config: { name: found.routeName, match: found.match, ...shared },
    }));
  });
}

function actionOf(
  index: MeshIndex,
  entry: StoredRoute,
  rule: Rule,
  filters: ReturnType<typeof compileFilters>,
): RouteAction {
  if (filters.redirect !== undefined) return { type: "redirect", redirect: filters.redirect };
  const backends = (rule.backendRefs ?? []).map((ref) => {
    const key = refKey(ref, entry.route);
    const isThere = index.services.has(key) && takesRequests(index, key) && hasSubset(index, key, ref.subset);
    return {
      cluster: isThere ? formatClusterName({ key, subset: ref.subset }) : "",
      weight: ref.weight,
      ...compileFilters(ref.filters).headers,
    };
  });
  const mirrors = compileMirrors(index, entry.route, rule.filters);
  return {
    type: "forward",
    backends,
    ...(filters.rewrite === undefined ? {} : { rewrite: filters.rewrite }),
    ...(mirrors.length === 0 ? {} : { mirrors }),
  };
}

/** How single requests are treated: as the rule itself says, else its policies. */
function treatmentOf(
  index: MeshIndex,
  rule: OwnLimits,
  policies: Policies,
  source: string,
): Limits & Pick<RouteConfig, "fallback" | "fault" | "priority"> {
  const fallback = compileFallback(index, policies);
  const priority = compilePriority(policies);
  const fault = compileFault(policies);
  return {
    ...compileLimits(rule, policies, source),
    ...(fallback === undefined ? {} : { fallback }),
    ...(priority === undefined ? {} : { priority }),
    ...(fault === undefined ? {} : { fault }),
  };
}
