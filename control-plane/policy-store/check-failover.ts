import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { checkUnique, type Report } from "./field-checks.js";

/** A policy whose service fails over to itself, to one service twice, or that has a threshold for nothing. */
export function checkFailover({ spec, metadata }: TrafficPolicy, report: Report): void {
  const { failover, failoverThreshold } = spec;
  if (failover === undefined) {
    if (failoverThreshold !== undefined)
      report(["spec", "failoverThreshold"], "has no effect without failover");
    return;
  }
  const names = failover.map(({ service, namespace }) => `${service}.${namespace ?? metadata.namespace}`);
  const pathOf = (index: number) => ["spec", "failover", index, "service"];
  checkUnique(names, pathOf, "service", report);
  const own = new Set(
    spec.targetRefs
      .filter(({ kind }) => kind === "Service")
      .map(({ name }) => `${name}.${metadata.namespace}`),
  );
  names.forEach((name, index) => {
    if (own.has(name)) report(pathOf(index), `${name} is the service that the policy holds for`);
  });
}
