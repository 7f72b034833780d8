import type { PathMatch } from "../snapshot.js";
import type { GrpcMethodMatch } from "./grpc-route.js";

/** The path of a call is `/<service>/<method>` (gRPC over HTTP2, Path). What a method match says of it; all paths without one. */
export function grpcPathMatch(match: GrpcMethodMatch | undefined): PathMatch {
  const { type, service, method } = match ?? {};
  if (service === undefined && method === undefined) return { type: "prefix", value: "/" };
  if (type === "RegularExpression")
    return { type: "regex", value: `/(?:${service ?? "[^/]+"})/(?:${method ?? "[^/]+"})` };
  if (service === undefined) return { type: "regex", value: `/[^/]+/${method}` };
  return method === undefined
    ? { type: "prefix", value: `/${service}/` }
    : { type: "exact", value: `/${service}/${method}` };
}
