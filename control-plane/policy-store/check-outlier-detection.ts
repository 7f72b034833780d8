import type { OutlierDetectionSpec } from "../../src/config/documents/outlier-detection.js";
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
