import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { BreakerConfig, ClusterConfig, MtlsMode, RetryBudgetConfig } from "../../src/config/snapshot.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { parseDuration } from "../../src/time/duration.js";
import { type MeshIndex, protocolOf } from "./mesh-index.js";
import { splitServiceKey } from "./service-name.js";

type Spec = TrafficPolicy["spec"];

/** Plaintext to a service is an exception that a policy has to make. */
const defaultMtlsMode: MtlsMode = "STRICT";

/** How callers treat a service: the defaults, and over them what its TrafficPolicy says. */
export function compileCluster(index: MeshIndex, key: string): ClusterConfig {
  const { service, namespace } = splitServiceKey(key, "default");
  const owner = index.policies.get(key);
  const spec: Partial<Spec> = owner?.policy.spec ?? {};
  const pool = spec.connectionPool ?? {};
  return {
    name: key,
    service,
    namespace,
    identities: [`spiffe://${index.trustDomain}/ns/${namespace}/svc/${service}`],
    protocol: protocolOf(index, key),
    mtlsMode: mtlsModeOf(index, key),
    loadBalancer: {
      policy: spec.loadBalancer?.policy ?? clusterDefaults.loadBalancer.policy,
      panicThresholdPercent:
        spec.loadBalancer?.locality?.panicThreshold ?? clusterDefaults.loadBalancer.panicThresholdPercent,
    },
    connectTimeoutMs: milliseconds(pool.connectTimeout, clusterDefaults.connectTimeoutMs),
    maxRequests: pool.maxRequests ?? clusterDefaults.maxRequests,
    maxConnections: pool.maxConnections ?? clusterDefaults.maxConnections,
    maxPendingRequests: pool.maxPendingRequests ?? clusterDefaults.maxPendingRequests,
    maxConcurrentStreams: pool.http2?.maxConcurrentStreams ?? clusterDefaults.maxConcurrentStreams,
    tunnelIdleMs: milliseconds(pool.tcp?.idleTimeout, clusterDefaults.tunnelIdleMs),
    poolIdleMs: milliseconds(pool.idleTimeout, clusterDefaults.poolIdleMs),
    breaker: breakerOf(spec.outlierDetection ?? {}),
    retryBudget: budgetOf(spec.retryBudget ?? {}),
    source: owner?.id ?? "default",
  };
}

/** mTLS mode of a service, for its callers and for its own inbound listener. */
export function mtlsModeOf(index: MeshIndex, key: string): MtlsMode {
  return index.policies.get(key)?.policy.spec.mtls?.mode ?? defaultMtlsMode;
}

function breakerOf(spec: NonNullable<Spec["outlierDetection"]>): BreakerConfig {
  const defaults = clusterDefaults.breaker;
  const base = spec.baseEjectionTime;
  const max = spec.maxEjectionTime;
  // One of the two may be given alone: the default of the other then follows it rather than contradict it.
  const baseEjectionMs = milliseconds(base, Math.min(defaults.baseEjectionMs, milliseconds(max, Infinity)));
  return {
    consecutiveFailures: spec.consecutive5xx ?? defaults.consecutiveFailures,
    minSuccessRatio: spec.successRate?.minimumRatio ?? defaults.minSuccessRatio,
    windowMs: milliseconds(spec.interval, defaults.windowMs),
    minRequests: spec.successRate?.requestVolume ?? defaults.minRequests,
    baseEjectionMs,
    maxEjectionMs: milliseconds(max, Math.max(defaults.maxEjectionMs, baseEjectionMs)),
    jitterRatio: defaults.jitterRatio,
    maxEjectionPercent: spec.maxEjectionPercent ?? defaults.maxEjectionPercent,
  };
}

function budgetOf(spec: NonNullable<Spec["retryBudget"]>): RetryBudgetConfig {
  const defaults = clusterDefaults.retryBudget;
  return {
    percent: spec.percent ?? defaults.percent,
    minRetriesPerSecond: spec.minRetriesPerSecond ?? defaults.minRetriesPerSecond,
    windowMs: milliseconds(spec.interval, defaults.windowMs),
  };
}

function milliseconds(text: string | undefined, fallback: number): number {
  return text === undefined ? fallback : (parseDuration(text) ?? fallback);
}
