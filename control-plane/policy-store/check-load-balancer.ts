import type { LoadBalancerSpec } from "../../src/config/documents/load-balancer.js";
import { checkLocality } from "./check-locality.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `loadBalancer`. */
export function checkLoadBalancer(spec: LoadBalancerSpec, path: FieldPath, report: Report): void {
  checkLocality(spec.locality, [...path, "locality"], report);
}
