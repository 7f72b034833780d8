import type { PathMatch, RouteMatch, ValueMatch } from "../config/snapshot.js";
import type { Fields } from "./fields.js";

/** Envoy's name for the method among the headers (RFC 9113 §8.3.1). */
export const methodHeader = ":method";

export function encodeMatch(match: RouteMatch): object {
  const method =
    match.method === undefined ? [] : [{ name: methodHeader, type: "exact", value: match.method } as const];
  return {
    ...encodePath(match.path),
    headers: [...method, ...match.headers].map(encodeValueMatch),
    queryParameters: match.query.map(encodeValueMatch),
    ...(match.isGrpc === true && { grpc: {} }),
  };
}

export function encodeValueMatch({ name, type, value }: ValueMatch): object {
  return { name, stringMatch: type === "exact" ? { exact: value } : { safeRegex: { regex: value } } };
}

export function decodeMatch(match: Fields): RouteMatch {
  const all = match.messages("headers").map(decodeValueMatch);
  const methods = all.filter(({ name }) => name === methodHeader);
  const [method] = methods;
  if (methods.length > 1 || method?.type === "regex") {
    throw match.error("headers", `more than one exact ${methodHeader}`);
  }
  return {
    ...(match.has("grpc") && { isGrpc: true as const }),
    path: decodePath(match),
    ...(method !== undefined && { method: method.value }),
    headers: all.filter((each) => each !== method),
    query: match.messages("queryParameters").map(decodeValueMatch),
  };
}

export function decodeValueMatch(fields: Fields): ValueMatch {
  const name = fields.requiredString("name");
  const match = fields.message("stringMatch");
  const exact = match.optionalString("exact");
  if (exact !== undefined) return { name, type: "exact", value: exact };
  return { name, type: "regex", value: match.message("safeRegex").string("regex") };
}

function encodePath({ type, value }: PathMatch): object {
  if (type === "exact") return { path: value };
  if (type === "regex") return { safeRegex: { regex: value } };
  // A value that ends with a slash matches whole segments by itself, and Envoy refuses it in path_separated_prefix.
  return value.endsWith("/") ? { prefix: value } : { pathSeparatedPrefix: value };
}

function decodePath(match: Fields): PathMatch {
  const exact = match.optionalString("path");
  if (exact !== undefined) return { type: "exact", value: exact };
  const prefix = match.optionalString("pathSeparatedPrefix") ?? match.optionalString("prefix");
  if (prefix !== undefined) {
    const isPlain = match.has("prefix");
    if (isPlain && !prefix.endsWith("/")) throw match.error("prefix", "does not end with a slash");
    return { type: "prefix", value: prefix };
  }
  return { type: "regex", value: match.message("safeRegex").string("regex") };
}
