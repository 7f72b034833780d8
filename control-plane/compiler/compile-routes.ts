import type { RuleSpec } from "../../src/config/documents/http-route.js";
import type { RouteAction, RouteConfig } from "../../src/config/snapshot.js";
import { compileFallback } from "./compile-fallback.js";
import { compileFilters } from "./compile-filter.js";
import { everything } from "./compile-match.js";
import { compilePriority } from "./compile-priority.js";
import { compileRetry } from "./compile-retry.js";
import { ownDomains } from "./hostnames.js";
import { type MeshIndex, refKey, routesFor, type StoredRoute, takesRequests } from "./mesh-index.js";
import { milliseconds } from "./milliseconds.js";
import { mergedSection, type Policies, policiesForRule, policiesForService } from "./policies-for.js";
import { clusterName, hasSubset } from "./subset.js";
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
  const limits = takesRequests(index, key) ? limitsOf(index, {}, policies) : {};
  return {
    name: "default",
    source: (Object.keys(limits).length > 0 ? policies[0]?.id : undefined) ?? "default",
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
      ...limitsOf(index, rule, policiesForRule(index, at.key, route, rule.name)),
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
      cluster: isThere ? clusterName(key, ref.subset) : "",
      weight: ref.weight,
      ...compileFilters(ref.filters).headers,
    };
  });
  return {
    type: "forward",
    backends,
    ...(filters.rewrite === undefined ? {} : { rewrite: filters.rewrite }),
  };
}

/** How single requests are treated: as the rule itself says, else its policies. 0s is a limit that was taken away. */
function limitsOf(
  index: MeshIndex,
  rule: Pick<RuleSpec, "timeouts" | "retry">,
  policies: Policies,
): Pick<RouteConfig, "timeoutMs" | "attemptTimeoutMs" | "retry" | "fallback" | "priority"> {
  const timeouts = mergedSection(policies, "timeouts");
  const timeoutMs = milliseconds(rule.timeouts?.request ?? timeouts?.request, 0);
  const attemptTimeoutMs = milliseconds(rule.timeouts?.backendRequest ?? timeouts?.backendRequest, 0);
  const retry = compileRetry(rule.retry, mergedSection(policies, "retry"));
  const fallback = compileFallback(index, policies);
  const priority = compilePriority(policies);
  return {
    ...(timeoutMs === 0 ? {} : { timeoutMs }),
    ...(attemptTimeoutMs === 0 ? {} : { attemptTimeoutMs }),
    ...(retry === undefined ? {} : { retry }),
    ...(fallback === undefined ? {} : { fallback }),
    ...(priority === undefined ? {} : { priority }),
  };
}
