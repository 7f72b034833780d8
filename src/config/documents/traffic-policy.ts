import { z } from "zod";
import { protocols } from "../protocol.js";
import { AdaptiveConcurrency } from "./adaptive-concurrency.js";
import { Bulkheads } from "./bulkheads.js";
import { CircuitBreaker } from "./circuit-breaker.js";
import { ConnectionPool } from "./connection-pool.js";
import { Failover } from "./failover.js";
import { Fallback } from "./fallback.js";
import { Fault } from "./fault.js";
import { choice, percent } from "./field.js";
import { HealthChecks } from "./health-check.js";
import { Hedge } from "./hedge.js";
import { LoadBalancer } from "./load-balancer.js";
import { LoadShedding } from "./load-shedding.js";
import { Metadata } from "./metadata.js";
import { Mtls } from "./mtls.js";
import { OutlierDetection } from "./outlier-detection.js";
import { PolicyRetry } from "./policy-retry.js";
import { PolicyTimeouts } from "./policy-timeouts.js";
import { Idempotency } from "./idempotency.js";
import { Priority } from "./priority.js";
import { RateLimits } from "./rate-limit.js";
import { RetryBudget } from "./retry-budget.js";
import { Subsets } from "./subset.js";
import { TargetRef } from "./target-ref.js";

/** `TrafficPolicy` of Remora: how requests to a service are treated, or those of one route. One per target. */
export const TrafficPolicy = z.strictObject({
  apiVersion: choice(["remora.mesh/v1"]).describe("Version of Remora's documents."),
  kind: z.literal("TrafficPolicy").describe("TrafficPolicy."),
  metadata: Metadata.describe("Who the document is."),
  spec: z
    .strictObject({
      targetRefs: z
        .array(TargetRef)
        .min(1, { error: "must name at least one service or route" })
        .max(16)
        .describe("The services or routes that the policy holds for."),
      protocol: choice(protocols).optional().describe("What the service speaks, whatever its instances say."),
      loadBalancer: LoadBalancer.optional().describe("Choice of the endpoint."),
      healthChecks: HealthChecks.optional().describe(
        "What callers' sidecars ask the instances, beside the registry's own checks.",
      ),
      failover: Failover.optional().describe("Who serves when the service itself cannot, in this order."),
      failoverThreshold: percent()
        .optional()
        .describe(
          "Below this share of usable instances, in percent, requests go to the failover. 0 = only with none left. The panic threshold when absent.",
        ),
      subsets: Subsets.optional().describe(
        "Instances told apart by metadata, by a name that backends of routes refer to.",
      ),
      connectionPool: ConnectionPool.optional().describe("Connections and limits."),
      priority: Priority.optional().describe("Class of the requests: critical, default or batch."),
      bulkheads: Bulkheads.optional().describe(
        "What each class of requests may take of connectionPool.maxRequests.",
      ),
      adaptiveConcurrency: AdaptiveConcurrency.optional().describe(
        "Limit of requests under way at each instance that follows its latency.",
      ),
      loadShedding: LoadShedding.optional().describe("Whom an overloaded instance turns away first."),
      outlierDetection: OutlierDetection.optional().describe(
        "Endpoint breaker: ejects failing endpoints for a while.",
      ),
      circuitBreaker: CircuitBreaker.optional().describe(
        "Breaker of the service as a whole: while it is open, requests fail at once.",
      ),
      retry: PolicyRetry.optional().describe("Retries of routes that say nothing themselves."),
      retryBudget: RetryBudget.optional().describe("Bound of all retries together, against retry storms."),
      timeouts: PolicyTimeouts.optional().describe("Time limits of routes that say nothing themselves."),
      fallback: Fallback.optional().describe("What callers get in place of a failure."),
      mtls: Mtls.optional().describe("Encryption and identity of the connections."),
      rateLimit: RateLimits.optional().describe(
        "How many requests the service takes: one limit, or several.",
      ),
      idempotency: Idempotency.optional().describe(
        "Requests with an Idempotency-Key are executed once, and repeated ones answered from what is kept.",
      ),
      fault: Fault.optional().describe("Failures on purpose, for a while."),
      hedge: Hedge.optional().describe("A second attempt elsewhere while the first is without an answer."),
    })
    .describe("What the policy says."),
  status: z.unknown().optional().describe("Written by Remora; ignored on input."),
});
export type TrafficPolicy = z.infer<typeof TrafficPolicy>;

/** `spec` of a TrafficPolicy. */
export type TrafficPolicySpec = TrafficPolicy["spec"];

/** Sections that say how single requests are treated: a policy of a route has these alone. */
export const routeSections = [
  "retry",
  "timeouts",
  "rateLimit",
  "fallback",
  "idempotency",
  "priority",
  "fault",
] as const satisfies readonly (keyof TrafficPolicySpec)[];
