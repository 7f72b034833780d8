import type { HashPolicy } from "../config/load-balancer-config.js";
import { duration, type Fields } from "./fields.js";

/** Envoy has no such part; one that it does not find has no effect there. */
const identityKey = "remora.source_identity";

/** Envoy RouteAction.HashPolicy. */
export function encodeHashPolicy(part: HashPolicy): object {
  const { isTerminal: terminal } = part;
  switch (part.type) {
    case "header":
      return { terminal, header: { headerName: part.name } };
    case "sourceIP":
      return { terminal, connectionProperties: { sourceIp: true } };
    case "sourceIdentity":
      return { terminal, filterState: { key: identityKey } };
    case "query":
      return { terminal, queryParameter: { name: part.name } };
    case "cookie": {
      const { name, path, ttlMs } = part;
      return { terminal, cookie: { name, path, ...(ttlMs !== undefined && { ttl: duration(ttlMs) }) } };
    }
  }
}

/** Throws ConfigError. */
export function decodeHashPolicy(fields: Fields): HashPolicy {
  const isTerminal = fields.boolean("terminal");
  const header = fields.optionalMessage("header");
  if (header !== undefined) return { type: "header", name: header.requiredString("headerName"), isTerminal };
  const query = fields.optionalMessage("queryParameter");
  if (query !== undefined) return { type: "query", name: query.requiredString("name"), isTerminal };
  if (fields.optionalMessage("connectionProperties")?.boolean("sourceIp") === true)
    return { type: "sourceIP", isTerminal };
  if (fields.optionalMessage("filterState")?.requiredString("key") === identityKey)
    return { type: "sourceIdentity", isTerminal };
  const cookie = fields.message("cookie");
  return {
    type: "cookie",
    name: cookie.requiredString("name"),
    path: cookie.requiredString("path"),
    ...(cookie.has("ttl") && { ttlMs: cookie.durationMs("ttl") }),
    isTerminal,
  };
}
