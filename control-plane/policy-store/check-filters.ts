import type { HeaderModifierSpec } from "../../src/config/documents/header-modifier.js";
import type { PathModifier, RouteFilter } from "../../src/config/documents/http-route-filter.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Which field holds the content of a filter. */
const contentFields = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
  RequestMirror: "requestMirror",
} as const;

/** Contradictions among the filters of a rule or of one backend. */
export function checkFilters(filters: readonly RouteFilter[], path: FieldPath, report: Report): void {
  const types: readonly string[] = filters.map((filter) => filter.type);
  // Of mirrors there may be several.
  const once = types.map((type) => (type === "RequestMirror" ? undefined : type));
  checkUnique(once, (index) => [...path, index, "type"], "filter", report);
  if (types.includes("RequestRedirect") && types.includes("URLRewrite")) {
    report(
      [...path, types.indexOf("URLRewrite"), "type"],
      "a rule has RequestRedirect or URLRewrite, not both",
    );
  }
  if (types.includes("RequestRedirect") && types.includes("RequestMirror")) {
    report(
      [...path, types.indexOf("RequestMirror"), "type"],
      "a rule with RequestRedirect sends no request that could be mirrored",
    );
  }
  filters.forEach((filter, index) => {
    const { percent, fraction } = filter.requestMirror ?? {};
    const mirrorPath = [...path, index, "requestMirror"];
    if (percent !== undefined && fraction !== undefined)
      report([...mirrorPath, "fraction"], "a mirror has percent or fraction, not both");
    if (fraction !== undefined && fraction.numerator > fraction.denominator)
      report(
        [...mirrorPath, "fraction", "numerator"],
        `is more than the denominator, ${fraction.denominator}`,
      );
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

/** The filters of one backend: a mirror is for all requests of the rule. */
export function checkBackendFilters(filters: readonly RouteFilter[], path: FieldPath, report: Report): void {
  checkFilters(filters, path, report);
  filters.forEach(({ type }, index) => {
    if (type === "RequestMirror")
      report([...path, index, "type"], "a mirror stands in the rule's own filters");
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
export const framingFields: ReadonlySet<string> = new Set([
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
    if (!framingFields.has(lower)) return;
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
