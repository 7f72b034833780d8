import type { Route } from "../../src/config/documents/document.js";
import type { RouteFilter } from "../../src/config/documents/http-route-filter.js";
import type { RuleSpec } from "../../src/config/documents/http-route.js";
import { compileGrpcMatch, compileHttpMatch } from "./compile-match.js";
import type { StoredRoute } from "./mesh-index.js";
import type { RankedMatch } from "./route-order.js";

/** A rule of any kind of route. */
export interface Rule extends Pick<RuleSpec, "timeouts" | "retry"> {
  readonly name?: string | undefined;
  readonly filters?: readonly RouteFilter[] | undefined;
  readonly backendRefs?: readonly BackendRef[] | undefined;
  readonly matches: readonly Pick<RankedMatch, "match" | "grpcMethod">[];
}

/** A service that a rule sends to. */
export interface BackendRef {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly subset?: string | undefined;
  readonly weight: number;
  readonly filters?: readonly RouteFilter[] | undefined;
}

/** The rules of a route of any kind. */
export function rulesOf(route: Route): readonly Rule[] {
  if (route.kind === "HTTPRoute")
    return route.spec.rules.map((rule) => ({
      ...rule,
      matches: orAll(rule.matches).map((spec) => ({ match: compileHttpMatch(spec), grpcMethod: undefined })),
    }));
  return route.spec.rules.map(({ name, filters, backendRefs, matches }) => ({
    name,
    filters,
    backendRefs,
    matches: orAll(matches).map((spec) => ({ match: compileGrpcMatch(spec), grpcMethod: spec.method })),
  }));
}

/** A rule without matches matches everything. */
function orAll<T extends object>(matches: readonly T[] | undefined): readonly (T | Record<string, never>)[] {
  return matches === undefined || matches.length === 0 ? [{}] : matches;
}

/** One match of a rule, by its name and with its place among all. */
export interface NamedMatch extends RankedMatch {
  /** Unique in the mesh and stable over pushes, for example `httproute/default/reviews/canary/0`. */
  readonly routeName: string;
}

/** The matches of a rule. */
export function matchesOf(entry: StoredRoute, rule: Rule, ruleIndex: number): readonly NamedMatch[] {
  const { kind, metadata } = entry.route;
  const name = `${metadata.namespace}/${metadata.name}`;
  // "#" cannot stand in the name of a rule, so a number never collides with one.
  const ruleName = `${kind.toLowerCase()}/${name}/${rule.name ?? `#${ruleIndex}`}`;
  return rule.matches.map(({ match, grpcMethod }, matchIndex) => ({
    kind,
    match,
    grpcMethod,
    createdMs: entry.createdAtMs,
    name,
    ruleIndex,
    matchIndex,
    routeName: `${ruleName}/${matchIndex}`,
  }));
}
