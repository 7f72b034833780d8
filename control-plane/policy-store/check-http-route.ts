import type { HttpRoute, MatchSpec, RuleSpec } from "../../src/config/documents/http-route.js";
import { checkAttachment, checkWeights } from "./check-attachment.js";
import { checkFilters } from "./check-filters.js";
import { checkTimeouts } from "./check-timeouts.js";
import { checkHeaderMatches, checkRegex, checkUnique, type Report } from "./field-checks.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside one HTTPRoute, and expressions that do not compile. */
export function checkHttpRoute(route: HttpRoute): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkAttachment(route, report);
  route.spec.rules.forEach((rule, index) => {
    const path = ["spec", "rules", index];
    checkRule(rule, path, report);
    if (rule.timeouts !== undefined) checkTimeouts(rule.timeouts, [...path, "timeouts"], report);
  });
  return problems;
}

function checkRule(rule: RuleSpec, path: FieldPath, report: Report): void {
  const matches = rule.matches ?? [];
  matches.forEach((match, index) => checkMatch(match, [...path, "matches", index], report));
  const filters = rule.filters ?? [];
  checkFilters(filters, [...path, "filters"], report);
  (rule.backendRefs ?? []).forEach((ref, index) =>
    checkFilters(ref.filters ?? [], [...path, "backendRefs", index, "filters"], report),
  );
  checkWeights(rule.backendRefs, path, report);
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
  checkHeaderMatches(match.headers, [...path, "headers"], report);
  const parameters = match.queryParams ?? [];
  parameters.forEach((item, index) => {
    if (item.type === "RegularExpression")
      checkRegex(item.value, [...path, "queryParams", index, "value"], report);
  });
  checkUnique(
    parameters.map((item) => item.name),
    (index) => [...path, "queryParams", index, "name"],
    "query parameter",
    report,
  );
}
