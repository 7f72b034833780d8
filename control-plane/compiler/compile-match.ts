import { grpcPathMatch } from "../../src/config/documents/grpc-path.js";
import type { GrpcMatchSpec } from "../../src/config/documents/grpc-route.js";
import type { HeaderMatch } from "../../src/config/documents/header-match.js";
import type { MatchSpec } from "../../src/config/documents/http-route.js";
import type { RouteMatch, ValueMatch } from "../../src/config/snapshot.js";

/** The match of a rule that names none. */
export const everything: RouteMatch = { path: { type: "prefix", value: "/" }, headers: [], query: [] };

const pathTypes = { Exact: "exact", PathPrefix: "prefix", RegularExpression: "regex" } as const;
const valueTypes = { Exact: "exact", RegularExpression: "regex" } as const;

/** A match of an HTTPRoute. */
export function compileHttpMatch(spec: MatchSpec): RouteMatch {
  const query = (spec.queryParams ?? []).map(({ name, type, value }): ValueMatch => ({
    name,
    type: valueTypes[type],
    value,
  }));
  return {
    path:
      spec.path === undefined ? everything.path : { type: pathTypes[spec.path.type], value: spec.path.value },
    ...(spec.method === undefined ? {} : { method: spec.method }),
    headers: compileHeaderMatches(spec.headers),
    query,
  };
}

/** A match of a GRPCRoute: of gRPC calls alone. */
export function compileGrpcMatch(spec: GrpcMatchSpec): RouteMatch {
  return {
    isGrpc: true,
    path: grpcPathMatch(spec.method),
    headers: compileHeaderMatches(spec.headers),
    query: [],
  };
}

/** Conditions on headers. */
export function compileHeaderMatches(headers: readonly HeaderMatch[] | undefined): readonly ValueMatch[] {
  return (headers ?? []).map(({ name, type, value }) => ({
    name: name.toLowerCase(),
    type: valueTypes[type],
    value,
  }));
}
