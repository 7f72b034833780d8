import type { CircuitBreakerSpec } from "../../src/config/documents/circuit-breaker.js";
import { checkOrder } from "./check-order.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `circuitBreaker`. */
export function checkCircuitBreaker(spec: CircuitBreakerSpec, path: FieldPath, report: Report): void {
  checkOrder(
    path,
    { name: "openFor", text: spec.openFor },
    { name: "maxOpenFor", text: spec.maxOpenFor },
    report,
  );
  if (spec.failureRatio === 0 && spec.slowCalls === undefined) {
    report(
      [...path, "failureRatio"],
      "0 lets failures not count, and without slowCalls nothing could open it: leave circuitBreaker out",
    );
  }
}
