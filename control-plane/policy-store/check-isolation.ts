import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { priorityClasses } from "../../src/traffic/priority.js";
import type { Report } from "./field-checks.js";

/** Contradictions between and inside `bulkheads`, `loadShedding` and `adaptiveConcurrency`. */
export function checkIsolation(spec: TrafficPolicySpec, report: Report): void {
  checkBulkheads(spec, report);
  checkShedding(spec, report);
}

/** What the classes have of their own must fit into the whole, and leave something to those that have nothing of their own. */
function checkBulkheads({ bulkheads, connectionPool }: TrafficPolicySpec, report: Report): void {
  if (bulkheads === undefined) return;
  const path = ["spec", "bulkheads"];
  for (const name of priorityClasses) {
    const { maxPending, maxWait } = bulkheads[name] ?? {};
    if (maxPending !== undefined && (maxWait === undefined || /^0+(h|m|s|ms)$/.test(maxWait)))
      report([...path, name, "maxPending"], "needs maxWait: without it nobody waits");
  }
  const whole = connectionPool?.maxRequests ?? clusterDefaults.maxRequests;
  const owners = priorityClasses.filter((name) => bulkheads[name]?.maxRequests !== undefined);
  const owned = owners.reduce((sum, name) => sum + (bulkheads[name]?.maxRequests ?? 0), 0);
  const said = `connectionPool.maxRequests (${whole})`;
  const last = owners.at(-1);
  if (last === undefined) return;
  if (owned > whole)
    report([...path, last, "maxRequests"], `the classes have ${owned} together, more than ${said}`);
  const sharing = priorityClasses.filter((name) => !owners.includes(name));
  if (owned === whole && sharing.length > 0)
    report([...path, last, "maxRequests"], `leaves nothing of ${said} for ${sharing.join(" and ")}`);
}

function checkShedding({ loadShedding, adaptiveConcurrency }: TrafficPolicySpec, report: Report): void {
  const { maxRequests, shares } = loadShedding ?? {};
  if (maxRequests !== undefined && adaptiveConcurrency !== undefined)
    report(
      ["spec", "loadShedding", "maxRequests"],
      "contradicts adaptiveConcurrency, which finds the limit itself; its bound is adaptiveConcurrency.maxLimit",
    );
  if (loadShedding !== undefined && maxRequests === undefined && adaptiveConcurrency === undefined)
    report(["spec", "loadShedding"], "needs a limit: maxRequests, or adaptiveConcurrency beside it");
  if (shares?.batch !== undefined && shares.default !== undefined && shares.batch > shares.default)
    report(
      ["spec", "loadShedding", "shares", "batch"],
      `${shares.batch} is more than default (${shares.default})`,
    );
  const { minLimit, maxLimit } = adaptiveConcurrency ?? {};
  if (minLimit !== undefined && maxLimit !== undefined && minLimit > maxLimit)
    report(["spec", "adaptiveConcurrency", "minLimit"], `${minLimit} is more than maxLimit (${maxLimit})`);
}
