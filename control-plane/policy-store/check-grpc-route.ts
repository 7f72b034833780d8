import { grpcPathMatch } from "../../src/config/documents/grpc-path.js";
import type { GrpcMethodMatch, GrpcRoute } from "../../src/config/documents/grpc-route.js";
import { checkAttachment, checkWeights } from "./check-attachment.js";
import { checkBackendFilters, checkFilters } from "./check-filters.js";
import { checkHeaderMatches, checkRegex, type Report } from "./field-checks.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside one GRPCRoute, names that no gRPC call has, and expressions that do not compile. */
export function checkGrpcRoute(route: GrpcRoute): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkAttachment(route, report);
  route.spec.rules.forEach((rule, ruleIndex) => {
    const path = ["spec", "rules", ruleIndex];
    rule.matches?.forEach(({ method, headers }, index) => {
      const at = [...path, "matches", index];
      if (method !== undefined) checkMethod(method, [...at, "method"], report);
      checkHeaderMatches(headers, [...at, "headers"], report);
    });
    checkFilters(rule.filters ?? [], [...path, "filters"], report);
    checkWeights(rule.backendRefs, path, report);
    rule.backendRefs?.forEach((ref, index) =>
      checkBackendFilters(ref.filters ?? [], [...path, "backendRefs", index, "filters"], report),
    );
  });
  return problems;
}

/** Gateway API GRPCMethodMatch. */
const names = {
  service: {
    pattern: /^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i,
    rule: "a gRPC service is the full name from its .proto file, like shop.v1.Cart",
  },
  method: {
    pattern: /^[a-z_][a-z_0-9]*$/i,
    rule: "a gRPC method is one name from its .proto file, like AddItem",
  },
};

function checkMethod(match: GrpcMethodMatch, path: FieldPath, report: Report): void {
  if (match.service === undefined && match.method === undefined) {
    report(path, 'needs the field "service" or "method"; leave method out to match every call');
    return;
  }
  let areFine = true;
  for (const field of ["service", "method"] as const) {
    const value = match[field];
    if (value === undefined) continue;
    if (match.type === "RegularExpression") areFine = checkRegex(value, [...path, field], report) && areFine;
    else if (!names[field].pattern.test(value)) {
      report([...path, field], `${JSON.stringify(value)} is not valid: ${names[field].rule}`);
    }
  }
  // Both together are one expression, with its own bound on length.
  if (match.type === "RegularExpression" && areFine) checkRegex(grpcPathMatch(match).value, path, report);
}
