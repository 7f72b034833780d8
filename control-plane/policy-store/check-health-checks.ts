import type { HealthChecksSpec } from "../../src/config/documents/health-check.js";
import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { checkOrder } from "./check-order.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

const kinds = ["http", "grpc", "tcp"] as const;

/** Checks of no kind or of several, longer than their interval, or of what the service does not speak. */
export function checkHealthChecks({ healthChecks, protocol }: TrafficPolicySpec, report: Report): void {
  healthChecks?.forEach((check, index) => {
    const path = ["spec", "healthChecks", index];
    checkKind(check, protocol, path, report);
    for (const name of ["interval", "unhealthyInterval"] as const)
      checkOrder(path, { name: "timeout", text: check.timeout }, { name, text: check[name] }, report);
    check.http?.expectedStatuses?.forEach((status, at) => {
      if (typeof status === "number" || status.slice(0, 3) <= status.slice(4)) return;
      report([...path, "http", "expectedStatuses", at], `"${status}" ends before it begins`);
    });
  });
}

function checkKind(
  check: HealthChecksSpec[number],
  protocol: TrafficPolicySpec["protocol"],
  path: FieldPath,
  report: Report,
): void {
  const [kind, ...more] = kinds.filter((each) => check[each] !== undefined);
  if (kind === undefined || more.length > 0) return report(path, "must have one of http, grpc, tcp");
  if (protocol === undefined || probesOf[protocol].includes(kind)) return;
  report([...path, kind], `is not for protocol: ${protocol}, which has ${probesOf[protocol].join(" and ")}`);
}

/** Which checks a service can answer, by what it speaks. */
export const probesOf: Readonly<Record<NonNullable<TrafficPolicySpec["protocol"]>, readonly string[]>> = {
  http: ["http"],
  http2: ["http", "grpc"],
  grpc: ["http", "grpc"],
  tcp: ["tcp"],
};
