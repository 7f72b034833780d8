import type { OutlierDetectionSpec } from "../../src/config/documents/outlier-detection.js";
import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { checkOrder } from "./check-order.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `outlierDetection`. */
export function checkOutlierDetection(spec: OutlierDetectionSpec, path: FieldPath, report: Report): void {
  checkOrder(
    path,
    { name: "baseEjectionTime", text: spec.baseEjectionTime },
    { name: "maxEjectionTime", text: spec.maxEjectionTime },
    report,
  );
}

/** To eject the last endpoint is to refuse all requests, unless somebody else takes them. */
export function checkLastEndpoint({ outlierDetection, failover }: TrafficPolicySpec, report: Report): void {
  const percent = outlierDetection?.maxEjectionPercent ?? 0;
  if (percent < 100 || failover !== undefined) return;
  report(
    ["spec", "outlierDetection", "maxEjectionPercent"],
    "100 would eject the last endpoint, and requests would have nowhere to go: write less than 100 (of any number at least one then stays), or give a failover",
  );
}
