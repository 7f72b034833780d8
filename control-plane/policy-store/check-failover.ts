import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { failoverTargets, targetedServices } from "./failover-targets.js";
import { checkUnique, type Report } from "./field-checks.js";

/** A policy whose service fails over to itself, to one service twice, or that has a threshold for nothing. */
export function checkFailover(policy: TrafficPolicy, report: Report): void {
  const { failover, failoverThreshold } = policy.spec;
  if (failover === undefined) {
    if (failoverThreshold !== undefined)
      report(["spec", "failoverThreshold"], "has no effect without failover");
    return;
  }
  const own = targetedServices(policy);
  const targets = failoverTargets(policy, own.length === 1 ? (own[0] ?? "") : "itself");
  const pathOf = (index: number) => {
    const field = failover[index]?.service === undefined ? "datacenter" : "service";
    return ["spec", "failover", index, field];
  };
  const names = targets.map(({ key, datacenter }) =>
    datacenter === undefined ? key : `${key} in datacenter ${datacenter}`,
  );
  checkUnique(names, pathOf, "service", report);
  targets.forEach(({ key, datacenter }, index) => {
    if (datacenter === undefined && own.includes(key))
      report(pathOf(index), `${key} is the service that the policy holds for`);
  });
}
