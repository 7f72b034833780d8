import type { PathMatch, RouteMatch } from "../config/snapshot.js";

/** What decides the order of one match of one rule of one document among all those of a virtual host. */
export interface RoutePrecedence {
  readonly match: RouteMatch;
  /** When the document came to be, Unix milliseconds: the oldest wins. 0 when nobody knows. */
  readonly createdMs: number;
  /** `<namespace>/<name>` of the document. */
  readonly name: string;
  /** Place of the rule in its document. */
  readonly ruleIndex: number;
  /** Place of the match in its rule. */
  readonly matchIndex: number;
}

const pathRank: Readonly<Record<PathMatch["type"], number>> = { exact: 0, prefix: 1, regex: 1 };

/**
 * For Array.sort: negative when `a` goes first. Gateway API HTTPRouteRule: exact path; longest prefix; a method; most
 * headers; most query parameters; then the oldest document, its name, the first rule. The API leaves the place of
 * regular expressions open: they compete with prefixes by length of their text, and yield to a prefix of equal length.
 */
export function comparePrecedence(a: RoutePrecedence, b: RoutePrecedence): number {
  return (
    comparePaths(a.match.path, b.match.path) ||
    Number(b.match.method !== undefined) - Number(a.match.method !== undefined) ||
    b.match.headers.length - a.match.headers.length ||
    b.match.query.length - a.match.query.length ||
    a.createdMs - b.createdMs ||
    compareText(a.name, b.name) ||
    a.ruleIndex - b.ruleIndex ||
    a.matchIndex - b.matchIndex
  );
}

function comparePaths(a: PathMatch, b: PathMatch): number {
  const byRank = pathRank[a.type] - pathRank[b.type];
  // Two different exact paths never match the same request, so their length says nothing.
  if (byRank !== 0 || a.type === "exact") return byRank;
  return specificity(b) - specificity(a) || Number(a.type === "regex") - Number(b.type === "regex");
}

/** A trailing slash does not make a prefix more specific. */
function specificity(path: PathMatch): number {
  return path.type === "prefix" && path.value.endsWith("/") ? path.value.length - 1 : path.value.length;
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
