import type { LoadBalancerSpec } from "../../src/config/documents/load-balancer.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** A spill-over without a preference would have nothing to spill from. */
export function checkLocality(locality: LoadBalancerSpec["locality"], path: FieldPath, report: Report): void {
  if (locality?.spillover === undefined || locality.preferLocal === true) return;
  report([...path, "spillover"], "has no effect without preferLocal: true");
}
