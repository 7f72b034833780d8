import type { Route } from "../../src/config/documents/document.js";
import { checkUnique, type Report } from "./field-checks.js";

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
