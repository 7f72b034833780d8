import { documentName, serviceName } from "../../src/config/documents/field.js";
import { routeGroup } from "../../src/config/documents/target-ref.js";
import { routeSections, type TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { checkUnique, type Report } from "./field-checks.js";
import { targetText } from "./policy-target.js";

/** Names that the targets' kinds do not allow, targets named twice, and sections that a route cannot have. */
export function checkTargetRefs({ spec, metadata }: TrafficPolicy, report: Report): void {
  const { targetRefs } = spec;
  targetRefs.forEach(({ group, kind, name, sectionName }, index) => {
    const path = ["spec", "targetRefs", index];
    const isService = kind === "Service";
    const expected = isService ? "" : routeGroup;
    if (group !== undefined && group !== expected) {
      report([...path, "group"], `must be "${expected}", the group of ${kind}`);
    }
    const named = (isService ? serviceName() : documentName()).safeParse(name);
    if (!named.success) report([...path, "name"], named.error.issues[0]?.message ?? "is not a name");
    if (isService && sectionName !== undefined) {
      report([...path, "sectionName"], "is only for kind: HTTPRoute and GRPCRoute; a service has one port");
    }
  });
  checkUnique(
    targetRefs.map((target) => targetText(target, metadata.namespace)),
    (index) => ["spec", "targetRefs", index, "name"],
    "target",
    report,
  );
  const route = targetRefs.find(({ kind }) => kind !== "Service");
  if (route === undefined) return;
  for (const section of Object.keys(spec) as (keyof typeof spec)[]) {
    if (section === "targetRefs" || spec[section] === undefined) continue;
    if ((routeSections as readonly string[]).includes(section)) continue;
    report(
      ["spec", section],
      `is only for kind: Service; a policy of a ${route.kind} has ${routeSections.join(", ")}`,
    );
  }
}
