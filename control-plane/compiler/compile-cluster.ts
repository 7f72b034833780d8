import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import { parseClusterName } from "../../src/config/cluster-name.js";
import type { RetryBudgetConfig } from "../../src/config/retry-budget-config.js";
import type { ClusterConfig } from "../../src/config/snapshot.js";
import type { RetryBudgetSpec } from "../../src/config/documents/retry-budget.js";
import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { compileBulkheads } from "./compile-bulkheads.js";
import { compileBreaker } from "./compile-breaker.js";
import { compileFailover } from "./compile-failover.js";
import { compileHedge } from "./compile-hedge.js";
import { compileHealthChecks } from "./compile-health-checks.js";
import { compileLocality } from "./compile-locality.js";
import { compileLoadBalancer } from "./compile-load-balancer.js";
import { compileServiceBreaker } from "./compile-service-breaker.js";
import { type MeshIndex, protocolOf } from "./mesh-index.js";
import { milliseconds } from "./milliseconds.js";
import { mtlsModeOf } from "./mtls-mode.js";
import { splitServiceKey } from "./service-name.js";
import { subsetOf } from "./subset.js";

/** How callers treat a service, or a subset of it: the defaults, and over them what its TrafficPolicy says. */
export function compileCluster(index: MeshIndex, name: string): ClusterConfig {
  const { key, datacenter } = parseClusterName(name);
  const subset = subsetOf(index, name)?.text;
  const { service, namespace } = splitServiceKey(key, "default");
  const owner = index.policies.get(key);
  const spec: Partial<TrafficPolicySpec> = owner?.policy.spec ?? {};
  const pool = spec.connectionPool ?? {};
  const failover = compileFailover(index, name);
  const maxRequests = pool.maxRequests ?? clusterDefaults.maxRequests;
  const bulkheads = compileBulkheads(spec.bulkheads, maxRequests);
  const hedge = compileHedge(spec.hedge);
  return {
    name,
    service,
    namespace,
    ...(subset === undefined ? {} : { subset }),
    ...(datacenter === undefined ? {} : { datacenter }),
    identities: spec.mtls?.peerIdentity ?? [identityOf(index, service, namespace, datacenter)],
    protocol: protocolOf(index, key),
    mtlsMode: mtlsModeOf(index, key),
    loadBalancer: compileLoadBalancer(spec.loadBalancer ?? {}),
    ...compileLocality(spec.loadBalancer),
    ...failover,
    ...compileHealthChecks(index, key),
    connectTimeoutMs: milliseconds(pool.connectTimeout, clusterDefaults.connectTimeoutMs),
    maxRequests,
    ...(bulkheads === undefined ? {} : { bulkheads }),
    maxConnections: pool.maxConnections ?? clusterDefaults.maxConnections,
    maxPendingRequests: pool.maxPendingRequests ?? clusterDefaults.maxPendingRequests,
    maxConcurrentStreams: pool.http2?.maxConcurrentStreams ?? clusterDefaults.maxConcurrentStreams,
    ...(pool.maxRequestsPerConnection ? { maxRequestsPerConnection: pool.maxRequestsPerConnection } : {}),
    tunnelIdleMs: milliseconds(pool.tcp?.idleTimeout, clusterDefaults.tunnelIdleMs),
    poolIdleMs: milliseconds(pool.idleTimeout, clusterDefaults.poolIdleMs),
    breaker: compileBreaker(spec.outlierDetection ?? {}, failover.failover !== undefined),
    ...(spec.circuitBreaker !== undefined && {
      serviceBreaker: compileServiceBreaker(spec.circuitBreaker),
    }),
    retryBudget: budgetOf(spec.retryBudget ?? {}),
    ...(pool.maxRetries === undefined ? {} : { maxRetries: pool.maxRetries }),
    ...(hedge === undefined ? {} : { hedge }),
    source: owner?.id ?? "default",
  };
}

/**
 * The SPIFFE id that the sidecars of a service must prove.
 *
 * @param elsewhere the datacenter that they are in, when it is not the own one: Consul's CA names it, ours does not.
 */
export function identityOf(
  { trustDomain, datacenter }: Pick<MeshIndex, "trustDomain" | "datacenter">,
  service: string,
  namespace: string,
  elsewhere = datacenter,
): string {
  const place = datacenter === undefined ? "" : `/dc/${elsewhere}`;
  return `spiffe://${trustDomain}/ns/${namespace}${place}/svc/${service}`;
}

function budgetOf(spec: RetryBudgetSpec): RetryBudgetConfig {
  const defaults = clusterDefaults.retryBudget;
  return {
    percent: spec.percent ?? defaults.percent,
    minRetriesPerSecond: spec.minRetriesPerSecond ?? defaults.minRetriesPerSecond,
    windowMs: milliseconds(spec.interval, defaults.windowMs),
  };
}
