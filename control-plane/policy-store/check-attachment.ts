import type { Route } from "../../src/config/documents/document.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** What every kind of route has: host names, services and rules, each named once. */
export function checkAttachment(route: Route, report: Report): void {
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
}

/**
 * The Gateway API answers what falls to such a rule with 500. Whoever means that leaves backendRefs out; whoever wrote zeroes had a
 * split in mind.
 */
export function checkWeights(
  backends: readonly { readonly weight: number }[] | undefined,
  path: FieldPath,
  report: Report,
): void {
  if (backends === undefined || backends.length === 0 || backends.some(({ weight }) => weight > 0)) return;
  report(
    [...path, "backendRefs"],
    "every weight is 0, so nobody would get the requests: give one backend a weight, or leave backendRefs out to answer with an error",
  );
}
