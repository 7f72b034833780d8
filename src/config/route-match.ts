/** All given conditions must hold (Gateway API HTTPRouteMatch, GRPCRouteMatch). */
export interface RouteMatch {
  /** gRPC calls only, by their content-type (Envoy RouteMatch.grpc). Absent: any request. */
  readonly isGrpc?: true;
  readonly path: PathMatch;
  /** Upper case, as on the wire. */
  readonly method?: string;
  readonly headers: readonly ValueMatch[];
  readonly query: readonly ValueMatch[];
}

/** prefix matches whole path segments: /v2 matches /v2 and /v2/x, not /v20. regex is RE2 syntax and must match all of the path. */
export interface PathMatch {
  readonly type: "exact" | "prefix" | "regex";
  readonly value: string;
}

export interface ValueMatch {
  /** Header names in lower case; query names as they are. */
  readonly name: string;
  readonly type: "exact" | "regex";
  readonly value: string;
}
