import type { PathMatch, RouteMatch, ValueMatch } from "../config/snapshot.js";
import { isGrpc } from "../traffic/grpc.js";
import { nameIs } from "../traffic/headers.js";
import type { RequestHead } from "../traffic/message.js";
import { normalizeTarget } from "../traffic/path.js";
import { compilePattern, type Pattern } from "../config/pattern.js";
import { queryParameter } from "../traffic/query.js";

/** One compiled condition. `pathEnd` is where the path of head.target ends (traffic/path.ts). */
export type Condition = (head: RequestHead, pathEnd: number) => boolean;

/**
 * Compiles a route's match (Gateway API HTTPRouteMatch, GRPCRouteMatch) into the conditions that must all hold, cheap ones first; an
 * empty list matches everything. Throws ConfigError with `place` for a bad regular expression.
 */
export function compileMatch(match: RouteMatch, place: string): readonly Condition[] {
  const conditions: Condition[] = [];
  const { method } = match;
  if (method !== undefined) conditions.push((head) => head.method === method);
  const path = compilePath(match.path, place);
  if (path !== undefined) conditions.push(path);
  if (match.isGrpc === true) conditions.push((head) => isGrpc(head.headers));
  for (const header of match.headers) conditions.push(compileHeader(header, place));
  for (const parameter of match.query) conditions.push(compileQuery(parameter, place));
  return conditions;
}

/** undefined when every path matches. */
function compilePath(match: PathMatch, place: string): Condition | undefined {
  if (match.type === "regex") {
    const pattern = compilePattern(match.value, place);
    return (head, pathEnd) => pattern(head.target.slice(0, pathEnd));
  }
  const value = canonicalPath(match.value);
  const { length } = value;
  if (match.type === "exact") return (head, pathEnd) => pathEnd === length && head.target.startsWith(value);
  // Whole segments, so a trailing slash of the prefix means nothing (Gateway API PathMatchPathPrefix).
  const prefix = value.endsWith("/") ? value.slice(0, -1) : value;
  const prefixLength = prefix.length;
  if (prefixLength === 0) return undefined;
  return (head, pathEnd) =>
    pathEnd >= prefixLength &&
    head.target.startsWith(prefix) &&
    (pathEnd === prefixLength || head.target.charCodeAt(prefixLength) === 0x2f);
}

/** Requests are compared in canonical form, so a document may write its path in any equivalent one. */
function canonicalPath(value: string): string {
  return value.includes("?") ? value : (normalizeTarget(value) ?? value);
}

function compileHeader(match: ValueMatch, place: string): Condition {
  const name = match.name.toLowerCase();
  const matches = compileValue(match, place);
  return (head) => {
    const value = joinedHeader(head.headers, name);
    return value !== undefined && matches(value);
  };
}

/** Several fields of one name are one comma-joined value (RFC 9110 §5.3); an absent field is undefined. */
function joinedHeader(headers: readonly string[], lower: string): string | undefined {
  let value: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, lower)) continue;
    const next = headers[i + 1] as string;
    value = value === undefined ? next : `${value},${next}`;
  }
  return value;
}

function compileQuery(match: ValueMatch, place: string): Condition {
  const matches = compileValue(match, place);
  return (head, pathEnd) => {
    const value = queryParameter(head.target, pathEnd, match.name);
    return value !== undefined && matches(value);
  };
}

function compileValue(match: ValueMatch, place: string): Pattern {
  if (match.type === "regex") return compilePattern(match.value, place);
  return (value) => value === match.value;
}
