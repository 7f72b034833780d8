import type { MatchSpec, RuleSpec } from "../../src/config/documents/http-route.js";
import type { RouteAction, RouteConfig, RouteMatch, ValueMatch } from "../../src/config/snapshot.js";
import { comparePrecedence } from "../../src/route/precedence.js";
import { parseDuration } from "../../src/time/duration.js";
import { compileFilters } from "./compile-filter.js";
import { compileRetry } from "./compile-retry.js";
import { ownDomains } from "./hostnames.js";
import { type MeshIndex, refKey, routesFor, type StoredPolicy, type StoredRoute } from "./mesh-index.js";

const everything: RouteMatch = { path: { type: "prefix", value: "/" }, headers: [], query: [] };

/**
 * The routes of a service as callers of `namespace` see them, in order of precedence. Without an HTTPRoute there is one
 * that sends everything to the service; with one, what it does not match has no route (404, Gateway API).
 */
export function compileRoutes(index: MeshIndex, key: string, namespace: string): readonly RouteConfig[] {
  const policy = index.policies.get(key);
  const stored = routesFor(index, key, namespace);
  if (stored.length === 0) return [defaultRoute(key, policy)];
  return stored
    .flatMap((entry) => candidatesOf(index, entry, { key, namespace, policy }))
    .sort(comparePrecedence)
    .map((candidate) => candidate.config);
}

function defaultRoute(key: string, policy: StoredPolicy | undefined): RouteConfig {
  const limits = limitsOf({}, policy);
  return {
    name: "default",
    source: Object.keys(limits).length > 0 && policy !== undefined ? policy.id : "default",
    hostnames: [],
    match: everything,
    action: { type: "forward", backends: [{ cluster: key, weight: 1 }] },
    ...limits,
  };
}

interface Candidate {
  readonly match: RouteMatch;
  readonly createdMs: number;
  readonly name: string;
  readonly ruleIndex: number;
  readonly matchIndex: number;
  readonly config: RouteConfig;
}

function candidatesOf(
  index: MeshIndex,
  entry: StoredRoute,
  at: { readonly key: string; readonly namespace: string; readonly policy: StoredPolicy | undefined },
): readonly Candidate[] {
  const { route } = entry;
  const name = `${route.metadata.namespace}/${route.metadata.name}`;
  const further = route.spec.hostnames ?? [];
  // The service keeps its own names beside the further ones.
  const hostnames =
    further.length === 0 ? [] : [...new Set([...further, ...ownDomains(at.key, at.namespace)])].sort();
  return route.spec.rules.flatMap((rule, ruleIndex) => {
    const filters = compileFilters(rule.filters);
    const shared = {
      source: entry.id,
      hostnames,
      action: actionOf(index, entry, rule, filters),
      ...filters.headers,
      ...limitsOf(rule, at.policy),
    };
    const matches = rule.matches === undefined || rule.matches.length === 0 ? [{}] : rule.matches;
    return matches.map((spec, matchIndex): Candidate => {
      const match = matchOf(spec);
      // "#" cannot stand in the name of a rule, so a number never collides with one.
      const ruleName = rule.name ?? `#${ruleIndex}`;
      return {
        match,
        createdMs: entry.createdAtMs,
        name,
        ruleIndex,
        matchIndex,
        config: { name: `httproute/${name}/${ruleName}/${matchIndex}`, match, ...shared },
      };
    });
  });
}

function actionOf(
  index: MeshIndex,
  entry: StoredRoute,
  rule: RuleSpec,
  filters: ReturnType<typeof compileFilters>,
): RouteAction {
  if (filters.redirect !== undefined) return { type: "redirect", redirect: filters.redirect };
  const backends = (rule.backendRefs ?? []).map((ref) => {
    const key = refKey(ref, entry.route);
    return {
      cluster: index.services.has(key) ? key : "",
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

/** Time limits and retries: the rule's own, else those of the service's policy. 0s is a limit that was taken away. */
function limitsOf(
  rule: Pick<RuleSpec, "timeouts" | "retry">,
  policy: StoredPolicy | undefined,
): Pick<RouteConfig, "timeoutMs" | "attemptTimeoutMs" | "retry"> {
  const spec = policy?.policy.spec;
  const timeoutMs = parseDuration(rule.timeouts?.request ?? spec?.timeouts?.request ?? "0s") ?? 0;
  const attemptTimeoutMs =
    parseDuration(rule.timeouts?.backendRequest ?? spec?.timeouts?.backendRequest ?? "0s") ?? 0;
  const retry = compileRetry(rule.retry, spec?.retry);
  return {
    ...(timeoutMs === 0 ? {} : { timeoutMs }),
    ...(attemptTimeoutMs === 0 ? {} : { attemptTimeoutMs }),
    ...(retry === undefined ? {} : { retry }),
  };
}

const pathTypes = { Exact: "exact", PathPrefix: "prefix", RegularExpression: "regex" } as const;
const valueTypes = { Exact: "exact", RegularExpression: "regex" } as const;

function matchOf(spec: MatchSpec): RouteMatch {
  const headers = (spec.headers ?? []).map(({ name, type, value }): ValueMatch => ({
    name: name.toLowerCase(),
    type: valueTypes[type],
    value,
  }));
  const query = (spec.queryParams ?? []).map(({ name, type, value }): ValueMatch => ({
    name,
    type: valueTypes[type],
    value,
  }));
  return {
    path:
      spec.path === undefined ? everything.path : { type: pathTypes[spec.path.type], value: spec.path.value },
    ...(spec.method === undefined ? {} : { method: spec.method }),
    headers,
    query,
  };
}
