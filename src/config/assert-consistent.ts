import { isIP } from "node:net";
import { ConfigError } from "../errors/config-error.js";
import { assertLoadBalancer } from "./assert-load-balancer.js";
import type { IdempotencyConfig } from "./idempotency-config.js";
import type { BulkheadsConfig } from "./bulkhead-config.js";
import type { InboundConfig } from "./inbound-config.js";
import { clustersOf } from "./clusters-of.js";
import type { FallbackConfig } from "./fallback-config.js";
import type { FaultConfig } from "./fault-config.js";
import type { HedgeConfig } from "./hedge-config.js";
import { retriableGrpcCodes } from "./grpc-retry-words.js";
import type { LoadSheddingConfig } from "./load-shedding-config.js";
import type { OutliersConfig } from "./outliers-config.js";
import type { ServiceBreakerConfig } from "./service-breaker-config.js";
import type { SlowCallsConfig } from "./slow-calls-config.js";
import type { ClusterConfig, EndpointConfig, RouteConfig, Snapshot, VirtualHost } from "./snapshot.js";

/**
 * Refuses a snapshot whose parts do not fit together. Called before a snapshot is published and again before it is
 * applied: the one who sends and the one who receives need not be of the same version.
 *
 * @throws ConfigError that names the path: `virtualHosts.api.default.routes.2: cluster x does not exist`.
 */
export function assertConsistent(snapshot: Snapshot): void {
  check(snapshot.version !== "", "version", "is empty");
  assertInbound(snapshot.inbound);
  const clusters = new Set<string>();
  for (const cluster of snapshot.clusters) {
    const place = `clusters.${cluster.name}`;
    check(cluster.name !== "", "clusters", "a cluster has no name");
    check(!clusters.has(cluster.name), place, "stands twice");
    clusters.add(cluster.name);
    assertCluster(cluster, place);
  }
  for (const { name, failover } of snapshot.clusters) {
    if (failover === undefined) continue;
    const place = `clusters.${name}.failover`;
    percent(failover.thresholdPercent, `${place}.thresholdPercent`);
    for (const other of failover.clusters)
      check(clusters.has(other), place, `cluster ${other} does not exist`);
  }
  const hosts = new Set<string>();
  const domains = new Map<string, string>();
  for (const virtualHost of snapshot.virtualHosts) {
    const place = `virtualHosts.${virtualHost.name}`;
    check(!hosts.has(virtualHost.name), place, "stands twice");
    hosts.add(virtualHost.name);
    assertDomains(virtualHost, domains, place);
    assertRoutes(virtualHost.routes, clusters, place);
  }
  for (const [name, endpoints] of snapshot.endpoints) {
    check(clusters.has(name), `endpoints.${name}`, `cluster ${name} does not exist`);
    endpoints.forEach((endpoint, index) => assertEndpoint(endpoint, `endpoints.${name}.${index}`));
  }
}

function assertInbound({ maxRequests, shedding, tunnelIdle, rules = [] }: InboundConfig): void {
  atLeast(maxRequests, 0, "inbound.maxRequests");
  if (tunnelIdle !== undefined) atLeast(tunnelIdle.idleMs, 0, "inbound.tunnelIdle");
  if (shedding !== undefined) assertShedding(shedding, maxRequests);
  const names = new Set<string>();
  rules.forEach((rule, index) => {
    const place = `inbound.rules.${index}`;
    check(!names.has(rule.name), place, `rule ${rule.name} stands twice`);
    names.add(rule.name);
    if (rule.streamIdle !== undefined) atLeast(rule.streamIdle.idleMs, 0, `${place}.streamIdle`);
    for (const limit of rule.rateLimits ?? []) {
      const at = `${place}.rateLimits.${limit.name}`;
      atLeast(limit.requests, 1, `${at}.requests`);
      atLeast(limit.perMs, 1, `${at}.perMs`);
      atLeast(limit.burst, 1, `${at}.burst`);
      check(limit.status >= 400 && limit.status <= 499, `${at}.status`, "must be within 400-499");
    }
    if (rule.idempotency !== undefined) assertIdempotency(rule.idempotency, `${place}.idempotency`);
  });
}

function assertIdempotency(
  { methods, ttlMs, maxBodyBytes, maxRequestBytes, maxEntries }: IdempotencyConfig,
  place: string,
): void {
  check(methods.length > 0, `${place}.methods`, "is empty");
  atLeast(ttlMs, 1, `${place}.ttlMs`);
  atLeast(maxBodyBytes, 0, `${place}.maxBodyBytes`);
  atLeast(maxRequestBytes, 0, `${place}.maxRequestBytes`);
  atLeast(maxEntries, 1, `${place}.maxEntries`);
}

function assertShedding(shedding: LoadSheddingConfig, maxRequests: number): void {
  const place = "inbound.shedding";
  const { defaultSharePercent, batchSharePercent, adaptive } = shedding;
  percent(defaultSharePercent, `${place}.defaultSharePercent`);
  percent(batchSharePercent, `${place}.batchSharePercent`);
  if (adaptive === undefined) return atLeast(maxRequests, 1, "inbound.maxRequests");
  atLeast(adaptive.minLimit, 1, `${place}.adaptive.minLimit`);
  atLeast(adaptive.maxLimit, adaptive.minLimit, `${place}.adaptive.maxLimit`);
  atLeast(adaptive.tolerance, 1, `${place}.adaptive.tolerance`);
  atLeast(adaptive.windowMs, 1, `${place}.adaptive.windowMs`);
}

function assertBulkheads(bulkheads: BulkheadsConfig, place: string): void {
  for (const [name, { maxRequests = 1, maxPending, maxWaitMs }] of Object.entries(bulkheads)) {
    atLeast(maxRequests, 1, `${place}.${name}.maxRequests`);
    atLeast(maxPending, 0, `${place}.${name}.maxPending`);
    atLeast(maxWaitMs, 0, `${place}.${name}.maxWaitMs`);
  }
}

function assertDomains(virtualHost: VirtualHost, owners: Map<string, string>, place: string): void {
  for (const domain of virtualHost.domains) {
    check(
      domain !== "" && domain === domain.toLowerCase(),
      `${place}.domains`,
      `"${domain}" is not in lower case`,
    );
    const owner = owners.get(domain);
    check(owner === undefined, `${place}.domains`, `${domain} already belongs to ${owner}`);
    owners.set(domain, virtualHost.name);
  }
}

function assertRoutes(routes: readonly RouteConfig[], clusters: ReadonlySet<string>, place: string): void {
  const names = new Set<string>();
  routes.forEach((route, index) => {
    const at = `${place}.routes.${index}`;
    check(!names.has(route.name), at, `route ${route.name} stands twice`);
    names.add(route.name);
    if (route.timeoutMs !== undefined) atLeast(route.timeoutMs, 1, `${at}.timeoutMs`);
    if (route.attemptTimeoutMs !== undefined) atLeast(route.attemptTimeoutMs, 1, `${at}.attemptTimeoutMs`);
    if (route.streamIdleMs !== undefined) atLeast(route.streamIdleMs, 0, `${at}.streamIdleMs`);
    if (route.retry !== undefined) {
      atLeast(route.retry.attempts, 1, `${at}.retry.attempts`);
      atLeast(route.retry.baseBackoffMs, 0, `${at}.retry.baseBackoffMs`);
      atLeast(route.retry.maxBackoffMs, route.retry.baseBackoffMs, `${at}.retry.maxBackoffMs`);
      atLeast(route.retry.maxReplayBytes, 0, `${at}.retry.maxReplayBytes`);
      const { backoffFactor = 2 } = route.retry;
      check(backoffFactor >= 1 && backoffFactor <= 10, `${at}.retry.backoffFactor`, "must be within 1-10");
      const isRetriable = (code: number): boolean => Number.isInteger(code) && code >= 400 && code <= 599;
      check(route.retry.codes.every(isRetriable), `${at}.retry.codes`, "must be within 400-599");
      const isGrpcRetriable = (code: number): boolean => retriableGrpcCodes.includes(code);
      const known = retriableGrpcCodes.join(", ");
      check(route.retry.grpcCodes.every(isGrpcRetriable), `${at}.retry.grpcCodes`, `must be of ${known}`);
    }
    if (route.action.type !== "forward") return;
    for (const cluster of clustersOf(route))
      check(cluster === "" || clusters.has(cluster), at, `cluster ${cluster} does not exist`);
    for (const { weight } of route.action.backends) atLeast(weight, 0, `${at}.weight`);
    for (const { perMillion } of route.action.mirrors ?? [])
      check(perMillion >= 0 && perMillion <= 1_000_000, `${at}.mirrors`, `${perMillion} is not a share`);
    if (route.fallback !== undefined) assertFallback(route.fallback, `${at}.fallback`);
    if (route.fault !== undefined) assertFault(route.fault, `${at}.fault`);
  });
}

function assertFallback({ on, action }: FallbackConfig, place: string): void {
  check(on.length > 0, `${place}.on`, "is empty");
  if (action.type === "cached") {
    for (const field of ["maxAgeMs", "maxEntries", "maxBytes"] as const)
      atLeast(action.cached[field], 1, `${place}.cached.${field}`);
  }
  if (action.type !== "reply") return;
  const { http, grpc } = action.reply;
  check(http !== undefined || grpc !== undefined, `${place}.reply`, "is empty");
}

function assertFault({ delay, abort, expiresMs }: FaultConfig, place: string): void {
  check(delay !== undefined || abort !== undefined, place, "is empty");
  atLeast(expiresMs, 0, `${place}.expiresMs`);
  if (delay !== undefined) {
    atLeast(delay.fixedMs, 1, `${place}.delay.fixedMs`);
    percent(delay.percent, `${place}.delay.percent`);
  }
  if (abort === undefined) return;
  check(abort.status !== undefined || abort.grpcStatus !== undefined, `${place}.abort`, "has no status");
  percent(abort.percent, `${place}.abort.percent`);
}

function assertHedge({ after, maxAttempts, budgetPercent }: HedgeConfig, place: string): void {
  if (after.type === "delay") atLeast(after.delayMs, 1, `${place}.delayMs`);
  else {
    percent(after.percentile, `${place}.percentile`);
    atLeast(after.minDelayMs, 1, `${place}.minDelayMs`);
  }
  atLeast(maxAttempts, 1, `${place}.maxAttempts`);
  percent(budgetPercent, `${place}.budgetPercent`);
}

function assertCluster(cluster: ClusterConfig, place: string): void {
  const { breaker, loadBalancer, retryBudget } = cluster;
  const hasIdentity = cluster.identities.length > 0 || cluster.mtlsMode === "DISABLE";
  check(hasIdentity, `${place}.identities`, "is empty: nobody could be trusted");
  for (const field of [
    "connectTimeoutMs",
    "maxRequests",
    "maxConnections",
    "maxPendingRequests",
    "maxConcurrentStreams",
    "poolIdleMs",
  ] as const) {
    atLeast(cluster[field], 1, `${place}.${field}`);
  }
  const { maxRequestsPerConnection, maxRetries } = cluster;
  if (maxRequestsPerConnection !== undefined)
    atLeast(maxRequestsPerConnection, 1, `${place}.maxRequestsPerConnection`);
  if (maxRetries !== undefined) atLeast(maxRetries, 1, `${place}.maxRetries`);
  if (cluster.bulkheads !== undefined) assertBulkheads(cluster.bulkheads, `${place}.bulkheads`);
  atLeast(cluster.tunnelIdleMs, 0, `${place}.tunnelIdleMs`);
  assertLoadBalancer(loadBalancer, `${place}.loadBalancer`);
  if (cluster.hedge !== undefined) assertHedge(cluster.hedge, `${place}.hedge`);
  cluster.healthChecks?.forEach(({ intervalMs, unhealthyIntervalMs, timeoutMs }, index) => {
    atLeast(intervalMs, 1, `${place}.healthChecks.${index}.intervalMs`);
    atLeast(unhealthyIntervalMs, 1, `${place}.healthChecks.${index}.unhealthyIntervalMs`);
    atLeast(timeoutMs, 1, `${place}.healthChecks.${index}.timeoutMs`);
  });
  if (cluster.locality !== undefined)
    percent(cluster.locality.spilloverPercent, `${place}.locality.spilloverPercent`);
  atLeast(breaker.consecutiveFailures, 0, `${place}.breaker.consecutiveFailures`);
  ratio(breaker.minSuccessRatio, `${place}.breaker.minSuccessRatio`);
  atLeast(breaker.windowMs, 1, `${place}.breaker.windowMs`);
  atLeast(breaker.minRequests, 1, `${place}.breaker.minRequests`);
  atLeast(breaker.baseEjectionMs, 1, `${place}.breaker.baseEjectionMs`);
  atLeast(breaker.maxEjectionMs, breaker.baseEjectionMs, `${place}.breaker.maxEjectionMs`);
  ratio(breaker.jitterRatio, `${place}.breaker.jitterRatio`);
  percent(breaker.maxEjectionPercent, `${place}.breaker.maxEjectionPercent`);
  if (breaker.slowCalls !== undefined) assertSlowCalls(breaker.slowCalls, `${place}.breaker.slowCalls`);
  if (breaker.outliers !== undefined) assertOutliers(breaker.outliers, `${place}.breaker.outliers`);
  if (cluster.serviceBreaker !== undefined)
    assertServiceBreaker(cluster.serviceBreaker, `${place}.serviceBreaker`);
  percent(retryBudget.percent, `${place}.retryBudget.percent`);
  atLeast(retryBudget.minRetriesPerSecond, 0, `${place}.retryBudget.minRetriesPerSecond`);
  atLeast(retryBudget.windowMs, 1, `${place}.retryBudget.windowMs`);
}

function assertServiceBreaker(breaker: ServiceBreakerConfig, place: string): void {
  ratio(breaker.failureRatio, `${place}.failureRatio`);
  if (breaker.slowCalls !== undefined) assertSlowCalls(breaker.slowCalls, `${place}.slowCalls`);
  atLeast(breaker.windowMs, 1, `${place}.windowMs`);
  atLeast(breaker.minRequests, 1, `${place}.minRequests`);
  atLeast(breaker.openMs, 1, `${place}.openMs`);
  atLeast(breaker.maxOpenMs, breaker.openMs, `${place}.maxOpenMs`);
  ratio(breaker.jitterRatio, `${place}.jitterRatio`);
  atLeast(breaker.halfOpenRequests, 1, `${place}.halfOpenRequests`);
  atLeast(breaker.rampMs, 0, `${place}.rampMs`);
}

function assertSlowCalls(slowCalls: SlowCallsConfig, place: string): void {
  atLeast(slowCalls.thresholdMs, 1, `${place}.thresholdMs`);
  ratio(slowCalls.ratio, `${place}.ratio`);
  check(slowCalls.ratio > 0, `${place}.ratio`, "0 would open it at once");
}

function assertOutliers({ minHosts, minRequests, stdevFactor }: OutliersConfig, place: string): void {
  atLeast(minHosts, 2, `${place}.minHosts`);
  atLeast(minRequests, 1, `${place}.minRequests`);
  check(stdevFactor > 0, `${place}.stdevFactor`, "0 would eject whoever is below the mean");
}

function assertEndpoint(endpoint: EndpointConfig, place: string): void {
  check(isIP(endpoint.address) !== 0, `${place}.address`, `"${endpoint.address}" is not an IP address`);
  const isPort = Number.isInteger(endpoint.port) && endpoint.port >= 1 && endpoint.port <= 65_535;
  check(isPort, `${place}.port`, `${endpoint.port} is not a port`);
  atLeast(endpoint.weight, 1, `${place}.weight`);
}

function ratio(value: number, place: string): void {
  check(value >= 0 && value <= 1, place, `${value} is not within 0..1`);
}

function percent(value: number, place: string): void {
  check(value >= 0 && value <= 100, place, `${value} is not within 0..100`);
}

function atLeast(value: number, minimum: number, place: string): void {
  check(Number.isFinite(value) && value >= minimum, place, `${value} is less than ${minimum}`);
}

function check(isFine: boolean, place: string, message: string): asserts isFine {
  if (!isFine) throw new ConfigError(message, { place });
}
