import type { GrpcMethodMatch } from "../../src/config/documents/grpc-route.js";
import { comparePrecedence, type RoutePrecedence } from "../../src/route/precedence.js";

/** One match of one rule of one document, with what decides its place. */
export interface RankedMatch extends RoutePrecedence {
  readonly kind: "HTTPRoute" | "GRPCRoute";
  /** Of a GRPCRoute; absent: every call. */
  readonly grpcMethod: GrpcMethodMatch | undefined;
}

/**
 * For Array.sort: negative when `a` goes first. GRPCRoutes before HTTPRoutes, which take the calls that no GRPCRoute wants
 * and all requests that are no calls; among HTTPRoutes as comparePrecedence says.
 */
export function compareRank(a: RankedMatch, b: RankedMatch): number {
  if (a.kind !== b.kind) return a.kind === "GRPCRoute" ? -1 : 1;
  return a.kind === "HTTPRoute" ? comparePrecedence(a, b) : compareGrpc(a, b);
}

/**
 * Gateway API GRPCRouteRule: most characters in the matching service, then in the matching method, most headers; then the
 * oldest document, its name, the first rule. Of what matches one call, all that name a service match equally many of its
 * characters, whether as a name or as a regular expression. As with the paths of HTTPRoutes names go before expressions.
 */
function compareGrpc(a: RankedMatch, b: RankedMatch): number {
  return (
    names(b, "service") - names(a, "service") ||
    names(b, "method") - names(a, "method") ||
    Number(a.grpcMethod?.type === "RegularExpression") - Number(b.grpcMethod?.type === "RegularExpression") ||
    b.match.headers.length - a.match.headers.length ||
    a.createdMs - b.createdMs ||
    (a.name < b.name ? -1 : a.name > b.name ? 1 : 0) ||
    a.ruleIndex - b.ruleIndex ||
    a.matchIndex - b.matchIndex
  );
}

/** 1 or 0, for sorting. */
function names({ grpcMethod }: RankedMatch, field: "service" | "method"): number {
  return Number(grpcMethod?.[field] !== undefined);
}
