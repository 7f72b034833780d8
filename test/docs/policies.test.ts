import { readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { z } from "zod";
import {
  backoffDefaults,
  clusterDefaults,
  hedgeDefaults,
  healthCheckDefaults,
  localityDefaults,
  outliersDefaults,
  replyCacheDefaults,
  retryDefaults,
  serviceBreakerDefaults,
  slowCallsDefaults,
} from "../../src/config/cluster-defaults.js";
import { idempotencyDefaults } from "../../src/config/idempotency-defaults.js";
import { grpcWordsOf } from "../../src/config/grpc-retry-words.js";
import { loadSheddingDefaults } from "../../src/config/load-shedding-defaults.js";
import { documentSchemas, kinds } from "../../src/config/documents/document.js";
import { parseDocuments } from "../../control-plane/policy-store/parse-documents.js";
import { serverTimeouts } from "../../src/stack/server-timeouts.js";
import { formatDuration } from "../../src/time/duration.js";

const text = readFileSync(path.join(import.meta.dirname, "../../../docs/policies.md"), "utf8");
const examples = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => match[1] ?? "");

t.test("every example of docs/policies.md is accepted", async (t) => {
  t.ok(examples.length >= 4, `${examples.length} examples`);
  for (const example of examples) t.equal(parseDocuments(example, "docs/policies.md").length, 1);
});

t.test("the examples show every field that documents may have", async (t) => {
  const ignored = new Set([
    "status",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "uid",
    "managedFields",
  ]);
  const shown = examples.join("\n");
  for (const kind of kinds) {
    const walk = (schema: z.core.JSONSchema.BaseSchema): void => {
      for (const [name, field] of Object.entries(schema.properties ?? {})) {
        if (typeof field === "boolean" || field.not !== undefined || ignored.has(name)) continue;
        t.match(shown, new RegExp(`\\b${name}:`), `${kind}: ${name}`);
        walk(field);
      }
      for (const form of schema.anyOf ?? []) walk(form);
      if (typeof schema.items === "object" && !Array.isArray(schema.items)) walk(schema.items);
    };
    walk(z.toJSONSchema(documentSchemas[kind], { io: "input" }));
  }
});

t.test("the defaults in the table are those of the code", async (t) => {
  const { adaptive } = loadSheddingDefaults;
  const { breaker, loadBalancer, retryBudget } = clusterDefaults;
  const defaults: Readonly<Record<string, string>> = {
    "loadBalancer.policy": `\`${loadBalancer.policy}\``,
    "loadBalancer.locality.panicThreshold": String(loadBalancer.panicThresholdPercent),
    "healthChecks.interval": formatDuration(healthCheckDefaults.intervalMs),
    "healthChecks.timeout": formatDuration(healthCheckDefaults.timeoutMs),
    "healthChecks.unhealthyThreshold": String(healthCheckDefaults.unhealthyThreshold),
    "healthChecks.healthyThreshold": String(healthCheckDefaults.healthyThreshold),
    "healthChecks.initial": healthCheckDefaults.initial,
    "loadBalancer.locality.spillover": String(localityDefaults.spilloverPercent),
    "connectionPool.connectTimeout": formatDuration(clusterDefaults.connectTimeoutMs),
    "connectionPool.maxConnections": String(clusterDefaults.maxConnections),
    "connectionPool.maxPendingRequests": String(clusterDefaults.maxPendingRequests),
    "connectionPool.maxRequests": String(clusterDefaults.maxRequests),
    "connectionPool.idleTimeout": formatDuration(clusterDefaults.poolIdleMs),
    "connectionPool.http2.maxConcurrentStreams": String(clusterDefaults.maxConcurrentStreams),
    "connectionPool.tcp.idleTimeout": formatDuration(clusterDefaults.tunnelIdleMs),
    "adaptiveConcurrency.minLimit": String(adaptive.minLimit),
    "adaptiveConcurrency.maxLimit": String(adaptive.maxLimit),
    "adaptiveConcurrency.tolerance": String(adaptive.tolerance),
    "adaptiveConcurrency.window": formatDuration(adaptive.windowMs),
    "loadShedding.shares.default": String(loadSheddingDefaults.defaultSharePercent),
    "loadShedding.shares.batch": String(loadSheddingDefaults.batchSharePercent),
    "outlierDetection.consecutive5xx": String(breaker.consecutiveFailures),
    "outlierDetection.consecutiveGatewayErrors": String(breaker.consecutiveGatewayErrors),
    "outlierDetection.consecutiveLocalOriginFailures": String(breaker.consecutiveLocalOriginFailures),
    "outlierDetection.interval": formatDuration(breaker.windowMs),
    "outlierDetection.baseEjectionTime": formatDuration(breaker.baseEjectionMs),
    "outlierDetection.maxEjectionTime": `${breaker.maxEjectionMs / 1000}s`,
    "outlierDetection.maxEjectionPercent": String(breaker.maxEjectionPercent),
    "outlierDetection.successRate.minimumRatio": String(breaker.minSuccessRatio),
    "outlierDetection.successRate.requestVolume": String(breaker.minRequests),
    "outlierDetection.successRate.minimumHosts": `${outliersDefaults.minHosts} with \`stdevFactor\``,
    "outlierDetection.slowCalls.ratio": String(slowCallsDefaults.ratio),
    "circuitBreaker.failureRatio": String(serviceBreakerDefaults.failureRatio),
    "circuitBreaker.minimumRequests": String(serviceBreakerDefaults.minRequests),
    "circuitBreaker.window": formatDuration(serviceBreakerDefaults.windowMs),
    "circuitBreaker.openFor": formatDuration(serviceBreakerDefaults.openMs),
    "circuitBreaker.maxOpenFor": `${serviceBreakerDefaults.maxOpenMs / 1000}s`,
    "circuitBreaker.halfOpenRequests": String(serviceBreakerDefaults.halfOpenRequests),
    "circuitBreaker.ramp": formatDuration(serviceBreakerDefaults.rampMs),
    "retry.codes": retryDefaults.codes.join(", "),
    "retry.on": grpcWordsOf(retryDefaults.grpcCodes)
      .map((word) => `\`${word}\``)
      .join(", "),
    "retry.attempts": String(retryDefaults.attempts),
    "retry.backoff": `${formatDuration(retryDefaults.baseBackoffMs)} to ${formatDuration(retryDefaults.maxBackoffMs)}`,
    "retry.backoff.factor": String(backoffDefaults.factor),
    "retry.backoff.jitter": backoffDefaults.jitter,
    "retry.backoff.maxRetryAfter": formatDuration(backoffDefaults.maxRetryAfterMs),
    "timeouts.streamIdle": formatDuration(serverTimeouts.streamIdleMs),
    "retry.methods": retryDefaults.methods.join(", "),
    "retry.bufferLimit": `${retryDefaults.maxReplayBytes / 1024}KiB`,
    "fallback.cached.maxAge": formatDuration(replyCacheDefaults.maxAgeMs),
    "fallback.cached.maxEntries": String(replyCacheDefaults.maxEntries),
    "fallback.cached.maxBytes": `${replyCacheDefaults.maxBytes / 1024 / 1024}MiB`,
    "idempotency.methods": idempotencyDefaults.methods.join(", "),
    "idempotency.ttl": formatDuration(idempotencyDefaults.ttlMs),
    "idempotency.required": String(idempotencyDefaults.isRequired),
    "idempotency.maxBodyBytes": `${idempotencyDefaults.maxBodyBytes / 1024}KiB`,
    "idempotency.maxRequestBytes": `${idempotencyDefaults.maxRequestBytes / 1024}KiB`,
    "idempotency.maxEntries": String(idempotencyDefaults.maxEntries),
    "idempotency.maxStoreBytes": `${idempotencyDefaults.maxStoreBytes / 1024 / 1024}MiB`,
    "hedge.minDelay": formatDuration(hedgeDefaults.minDelayMs),
    "hedge.maxAttempts": String(hedgeDefaults.maxAttempts),
    "hedge.budgetPercent": String(hedgeDefaults.budgetPercent),
    "retryBudget.percent": String(retryBudget.percent),
    "retryBudget.minRetriesPerSecond": String(retryBudget.minRetriesPerSecond),
    "retryBudget.interval": formatDuration(retryBudget.windowMs),
  };
  const rows = new Map(
    [...text.matchAll(/^\| `([a-zA-Z0-9.]+)` \| (.*?) \|/gm)].map((match) => [
      match[1] ?? "",
      match[2] ?? "",
    ]),
  );
  for (const [field, value] of Object.entries(defaults)) t.equal(rows.get(field), value, field);
});
