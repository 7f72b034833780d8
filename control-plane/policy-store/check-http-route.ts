import { ConfigError } from "../../src/errors/config-error.js";
import type { HeaderModifierSpec } from "../../src/config/documents/header-modifier.js";
import type {
  BackendFilter,
  HttpRouteFilter,
  PathModifier,
} from "../../src/config/documents/http-route-filter.js";
import type { HttpRoute, MatchSpec, RuleSpec } from "../../src/config/documents/http-route.js";
import { compilePattern } from "../../src/route/pattern.js";
import { checkTimeouts } from "./check-timeouts.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

type Report = (path: FieldPath, message: string) => void;

/** Contradictions inside one HTTPRoute, and expressions that do not compile. */
export function checkHttpRoute(route: HttpRoute): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkUnique(route.spec.hostnames ?? [], (index) => ["spec", "hostnames", index], "hostname", report);
  checkUnique(
    route.spec.parentRefs.map((ref) => `${ref.name}.${ref.namespace ?? route.metadata.namespace}`),
    (index) => ["spec", "parentRefs", index, "name"],
    "service",
    report,
  );
  checkUnique(
    route.spec.rules.map((rule) => rule.name),
    (index) => ["spec", "rules", index, "name"],
    "rule",
    report,
  );
  route.spec.rules.forEach((rule, index) => {
    const path = ["spec", "rules", index];
    checkRule(rule, path, report);
    problems.push(...checkTimeouts([...path, "timeouts"], rule.timeouts));
  });
  return problems;
}

function checkUnique(
  names: readonly (string | undefined)[],
  pathOf: (index: number) => FieldPath,
  what: string,
  report: Report,
): void {
  const seen = new Set<string>();
  names.forEach((name, index) => {
    if (name === undefined) return;
    if (seen.has(name)) report(pathOf(index), `${what} ${name} is named twice`);
    seen.add(name);
  });
}

function checkRule(rule: RuleSpec, path: FieldPath, report: Report): void {
  const matches = rule.matches ?? [];
  matches.forEach((match, index) => checkMatch(match, [...path, "matches", index], report));
  const filters = rule.filters ?? [];
  checkFilters(filters, [...path, "filters"], report);
  (rule.backendRefs ?? []).forEach((ref, index) =>
    checkFilters(ref.filters ?? [], [...path, "backendRefs", index, "filters"], report),
  );
  const isRedirect = filters.some((filter) => filter.type === "RequestRedirect");
  if (isRedirect && (rule.backendRefs ?? []).length > 0) {
    report([...path, "backendRefs"], "a rule with RequestRedirect has no backendRefs: it answers itself");
  }
  const isPrefixOnly = matches.every((match) => (match.path?.type ?? "PathPrefix") === "PathPrefix");
  filters.forEach((filter, index) => {
    const field = filter.type === "URLRewrite" ? "urlRewrite" : "requestRedirect";
    if (filter[field]?.path?.type === "ReplacePrefixMatch" && !isPrefixOnly) {
      report(
        [...path, "filters", index, field, "path", "type"],
        "ReplacePrefixMatch needs every match of the rule to be of type PathPrefix",
      );
    }
  });
}

function checkMatch(match: MatchSpec, path: FieldPath, report: Report): void {
  const target = match.path;
  if (target?.type === "RegularExpression") checkRegex(target.value, [...path, "path", "value"], report);
  else if (target !== undefined) {
    const at = [...path, "path", "value"];
    // Gateway API HTTPPathMatch; such a path never arrives, because paths are normalised before they are matched.
    if (!target.value.startsWith("/")) report(at, `"${target.value}" must begin with /`);
    else if (/\/\/|\/\.\.?(\/|$)|%2[fF]|#|\?/.test(target.value)) {
      report(at, `"${target.value}" must not contain //, /./, /../, %2f, # or ?: no request path does`);
    }
  }
  for (const [field, list] of [
    ["headers", match.headers],
    ["queryParams", match.queryParams],
  ] as const) {
    list?.forEach((item, index) => {
      if (item.type === "RegularExpression") checkRegex(item.value, [...path, field, index, "value"], report);
    });
    // Gateway API: of equal names only the first counts, which nobody means.
    checkUnique(
      (list ?? []).map((item) => (field === "headers" ? item.name.toLowerCase() : item.name)),
      (index) => [...path, field, index, "name"],
      field === "headers" ? "header" : "query parameter",
      report,
    );
  }
}

function checkRegex(text: string, path: FieldPath, report: Report): void {
  try {
    compilePattern(text, "");
  } catch (error: unknown) {
    if (!(error instanceof ConfigError)) throw error;
    report(path, `${error.message.replace(/^: /, "")} (RE2 has no lookaround and no back-references)`);
  }
}

/** Which field holds the content of a filter. */
const contentFields = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
} as const;

function checkFilters(
  filters: readonly (HttpRouteFilter | BackendFilter)[],
  path: FieldPath,
  report: Report,
): void {
  const types: readonly string[] = filters.map((filter) => filter.type);
  checkUnique(types, (index) => [...path, index, "type"], "filter", report);
  if (types.includes("RequestRedirect") && types.includes("URLRewrite")) {
    report(
      [...path, types.indexOf("URLRewrite"), "type"],
      "a rule has RequestRedirect or URLRewrite, not both",
    );
  }
  filters.forEach((filter, index) => {
    const wanted = contentFields[filter.type];
    if (filter[wanted] === undefined)
      report([...path, index], `type ${filter.type} needs the field "${wanted}"`);
    for (const field of Object.values(contentFields)) {
      if (field !== wanted && filter[field] !== undefined) {
        report([...path, index, field], `does not belong to type ${filter.type}`);
      }
    }
    for (const field of ["requestHeaderModifier", "responseHeaderModifier"] as const) {
      checkHeaders(filter[field], [...path, index, field], report);
    }
    checkPathModifier(filter.urlRewrite?.path, [...path, index, "urlRewrite", "path"], report);
    checkPathModifier(filter.requestRedirect?.path, [...path, index, "requestRedirect", "path"], report);
  });
}

function checkPathModifier(modifier: PathModifier | undefined, path: FieldPath, report: Report): void {
  if (modifier === undefined) return;
  const isFull = modifier.type === "ReplaceFullPath";
  const wanted = isFull ? "replaceFullPath" : "replacePrefixMatch";
  const other = isFull ? "replacePrefixMatch" : "replaceFullPath";
  if (modifier[wanted] === undefined) report(path, `type ${modifier.type} needs the field "${wanted}"`);
  if (modifier[other] !== undefined) report([...path, other], `does not belong to type ${modifier.type}`);
}

/** Headers that frame a message or belong to one connection (RFC 9110 §7.6.1, RFC 9112 §6): changing them splits messages. */
const framing: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function checkHeaders(modifier: HeaderModifierSpec | undefined, path: FieldPath, report: Report): void {
  if (modifier === undefined) return;
  const refuse = (name: string, at: FieldPath): void => {
    const lower = name.toLowerCase();
    if (!framing.has(lower)) return;
    report(
      at,
      lower === "host" ? "host is changed by a URLRewrite filter" : `${lower} belongs to the connection`,
    );
  };
  for (const field of ["set", "add"] as const) {
    modifier[field]?.forEach((item, index) => refuse(item.name, [...path, field, index, "name"]));
  }
  modifier.remove?.forEach((name, index) => refuse(name, [...path, "remove", index]));
  checkUnique(
    (modifier.set ?? []).map((item) => item.name.toLowerCase()),
    (index) => [...path, "set", index, "name"],
    "header",
    report,
  );
}
