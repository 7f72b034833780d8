import type { TrafficPolicy, TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { checkFailover } from "./check-failover.js";
import { checkAttemptTime } from "./check-attempt-time.js";
import { checkHealthChecks } from "./check-health-checks.js";
import { checkLoadBalancer } from "./check-load-balancer.js";
import { checkFallback, checkFallbackTargets } from "./check-fallback.js";
import { checkIdempotency, checkIdempotencyTargets } from "./check-idempotency.js";
import { checkIsolation } from "./check-isolation.js";
import { checkFault } from "./check-fault.js";
import { checkHedge } from "./check-hedge.js";
import { checkCircuitBreaker } from "./check-circuit-breaker.js";
import { checkLastEndpoint, checkOutlierDetection } from "./check-outlier-detection.js";
import { checkMtls } from "./check-mtls.js";
import { checkPolicyRetry } from "./check-policy-retry.js";
import { checkRateLimit } from "./check-rate-limit.js";
import { checkTargetRefs } from "./check-target-refs.js";
import { checkPolicyTimeouts } from "./check-timeouts.js";
import type { Report } from "./field-checks.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

type SectionCheck<S> = (section: S, path: FieldPath, report: Report) => void;

/** The checks of single sections: each sees its own section alone, and runs only when the policy has it. */
const sectionChecks: {
  readonly [K in keyof TrafficPolicySpec]?: SectionCheck<NonNullable<TrafficPolicySpec[K]>>;
} = {
  loadBalancer: checkLoadBalancer,
  mtls: checkMtls,
  fallback: checkFallback,
  idempotency: checkIdempotency,
  fault: checkFault,
  hedge: checkHedge,
  circuitBreaker: checkCircuitBreaker,
  outlierDetection: checkOutlierDetection,
  rateLimit: checkRateLimit,
  retry: checkPolicyRetry,
  timeouts: checkPolicyTimeouts,
};

/** Contradictions inside one TrafficPolicy. */
export function checkTrafficPolicy(policy: TrafficPolicy): readonly FieldProblem[] {
  const { spec } = policy;
  const problems: FieldProblem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkTargetRefs(policy, report);
  checkFallbackTargets(policy, report);
  checkFailover(policy, report);
  checkIdempotencyTargets(policy, report);
  checkIsolation(spec, report);
  checkHealthChecks(spec, report);
  for (const section of Object.keys(sectionChecks) as (keyof TrafficPolicySpec)[]) {
    checkSection(spec, section, report);
  }
  checkAttemptTime(spec, report);
  checkLastEndpoint(spec, report);
  return problems;
}

function checkSection<K extends keyof TrafficPolicySpec>(
  spec: TrafficPolicySpec,
  section: K,
  report: Report,
): void {
  const value = spec[section];
  if (value === undefined || value === null) return;
  sectionChecks[section]?.(value, ["spec", section], report);
}
