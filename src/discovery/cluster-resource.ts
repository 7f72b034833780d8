import type { BreakerConfig, ClusterConfig, LoadBalancerConfig } from "../config/snapshot.js";
import { decodeIdentities, encodeTls } from "./cluster-tls.js";
import { Fields, duration } from "./fields.js";
import { sameStream } from "./listener-resource.js";
import { decodeProtocol, encodeProtocol } from "./protocol.js";
import { packAny, packMetadata, wire } from "./wire.js";

const maxInteger = 2 ** 32 - 1;
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

export function encodeCluster(cluster: ClusterConfig): Buffer {
  const { name, service, namespace, source, protocol, mtlsMode, identities, breaker, retryBudget } = cluster;
  const ours = {
    service,
    namespace,
    source,
    protocol: encodeProtocol(protocol),
    mtlsMode,
    identities: mtlsMode === "DISABLE" ? identities : [],
    minSuccessRatio: breaker.minSuccessRatio,
    ejectionJitterRatio: breaker.jitterRatio,
    minRetriesPerSecond: retryBudget.minRetriesPerSecond,
    retryBudgetWindowMs: retryBudget.windowMs,
    tunnelIdle: duration(cluster.tunnelIdleMs),
    maxConcurrentStreams: cluster.maxConcurrentStreams,
  };
  return wire.cluster.encode({
    name,
    type: "EDS",
    edsClusterConfig: { edsConfig: sameStream },
    connectTimeout: duration(cluster.connectTimeoutMs),
    ...encodeLoadBalancer(cluster.loadBalancer),
    circuitBreakers: encodeLimits(cluster),
    outlierDetection: encodeBreaker(breaker),
    ...(mtlsMode !== "DISABLE" && { transportSocket: encodeTls(identities) }),
    typedExtensionProtocolOptions: {
      [httpOptionsKey]: packAny(wire.httpProtocolOptions, httpOptions(cluster)),
    },
    metadata: packMetadata(wire.remoraCluster, ours),
  });
}

/** Throws ConfigError. */
export function decodeCluster(bytes: Buffer): ClusterConfig {
  const cluster = Fields.decodeNamed(wire.cluster, bytes, "cluster");
  cluster.oneOf("type", ["EDS"]);
  const ours = cluster.metadata(wire.remoraCluster);
  const mtlsMode = ours.oneOf("mtlsMode", ["STRICT", "PERMISSIVE", "DISABLE"]);
  const breakers = cluster.message("circuitBreakers");
  const all = breakers.onlyMessage("thresholds");
  const each = breakers.onlyMessage("perHostThresholds");
  const http = cluster.message("typedExtensionProtocolOptions").any(httpOptionsKey, wire.httpProtocolOptions);
  return {
    name: cluster.string("name"),
    service: ours.requiredString("service"),
    namespace: ours.requiredString("namespace"),
    identities: mtlsMode === "DISABLE" ? ours.strings("identities") : decodeIdentities(cluster),
    protocol: decodeProtocol(ours, "protocol"),
    mtlsMode,
    loadBalancer: decodeLoadBalancer(cluster),
    connectTimeoutMs: cluster.durationMs("connectTimeout"),
    maxRequests: all.wrapped("maxRequests", 0),
    maxConnections: each.wrapped("maxConnections", 0),
    maxPendingRequests: each.wrapped("maxPendingRequests", 0),
    tunnelIdleMs: ours.durationMs("tunnelIdle"),
    maxConcurrentStreams: ours.number("maxConcurrentStreams", 1, maxInteger),
    poolIdleMs: http.message("commonHttpProtocolOptions").durationMs("idleTimeout"),
    breaker: decodeBreaker(cluster.message("outlierDetection"), ours),
    retryBudget: {
      percent: all.message("retryBudget").message("budgetPercent").number("value", 0, Number.MAX_VALUE),
      minRetriesPerSecond: ours.number("minRetriesPerSecond", 0, Number.MAX_VALUE),
      windowMs: ours.number("retryBudgetWindowMs", 0, maxInteger),
    },
    source: ours.string("source"),
  };
}

/** thresholds: all endpoints together; per_host_thresholds: each endpoint. */
function encodeLimits(cluster: ClusterConfig): object {
  const retryBudget = { budgetPercent: { value: cluster.retryBudget.percent } };
  return {
    thresholds: [{ maxRequests: { value: cluster.maxRequests }, retryBudget }],
    perHostThresholds: [
      {
        maxConnections: { value: cluster.maxConnections },
        maxPendingRequests: { value: cluster.maxPendingRequests },
      },
    ],
  };
}

function httpOptions({ protocol, poolIdleMs, maxConcurrentStreams }: ClusterConfig): object {
  const isHttp2 = protocol === "http2" || protocol === "grpc";
  // The largest that Envoy accepts.
  const streams = { maxConcurrentStreams: { value: Math.min(maxConcurrentStreams, 2 ** 31 - 1) } };
  return {
    commonHttpProtocolOptions: { idleTimeout: duration(poolIdleMs) },
    explicitHttpConfig: isHttp2 ? { http2ProtocolOptions: streams } : { httpProtocolOptions: {} },
  };
}

/** The first policy that the reader knows counts, so others than Remora fall back to round robin. */
function encodeLoadBalancer({ policy, panicThresholdPercent }: LoadBalancerConfig): object {
  const peakEwma = { name: "remora.peak_ewma", typedConfig: packAny(wire.remoraPeakEwma, {}) };
  const roundRobin = {
    name: "envoy.load_balancing_policies.round_robin",
    typedConfig: packAny(wire.roundRobin, {}),
  };
  const configs = policy === "peak_ewma" ? [peakEwma, roundRobin] : [roundRobin];
  return {
    lbPolicy: "ROUND_ROBIN",
    loadBalancingPolicy: { policies: configs.map((typedExtensionConfig) => ({ typedExtensionConfig })) },
    commonLbConfig: { healthyPanicThreshold: { value: panicThresholdPercent } },
  };
}

function decodeLoadBalancer(cluster: Fields): LoadBalancerConfig {
  const lists = cluster.message("loadBalancingPolicy").messages("policies");
  const urls = lists.map((each) =>
    each.message("typedExtensionConfig").message("typedConfig").string("type_url"),
  );
  const known = urls.find((url) => url === wire.remoraPeakEwma.typeUrl || url === wire.roundRobin.typeUrl);
  if (known === undefined) throw cluster.error("loadBalancingPolicy", `none of ${urls.join(", ")} is known`);
  const panic = cluster.message("commonLbConfig").message("healthyPanicThreshold");
  return {
    policy: known === wire.roundRobin.typeUrl ? "round_robin" : "peak_ewma",
    panicThresholdPercent: panic.number("value", 0, 100),
  };
}

function encodeBreaker(breaker: BreakerConfig): object {
  return {
    consecutive_5xx: { value: breaker.consecutiveFailures },
    enforcingConsecutive_5xx: { value: breaker.consecutiveFailures === 0 ? 0 : 100 },
    interval: duration(breaker.windowMs),
    baseEjectionTime: duration(breaker.baseEjectionMs),
    maxEjectionTime: duration(breaker.maxEjectionMs),
    maxEjectionPercent: { value: breaker.maxEjectionPercent },
    // Envoy's success rate compares endpoints with each other, which is not what ours does; its failure percentage is.
    enforcingSuccessRate: { value: 0 },
    failurePercentageThreshold: { value: Math.round((1 - breaker.minSuccessRatio) * 100) },
    enforcingFailurePercentage: { value: breaker.minSuccessRatio === 0 ? 0 : 100 },
    failurePercentageRequestVolume: { value: breaker.minRequests },
  };
}

function decodeBreaker(outlier: Fields, ours: Fields): BreakerConfig {
  return {
    consecutiveFailures: outlier.wrapped("consecutive_5xx", 0),
    minSuccessRatio: ours.number("minSuccessRatio", 0, 1),
    windowMs: outlier.durationMs("interval"),
    minRequests: outlier.wrapped("failurePercentageRequestVolume", 0),
    baseEjectionMs: outlier.durationMs("baseEjectionTime"),
    maxEjectionMs: outlier.durationMs("maxEjectionTime"),
    jitterRatio: ours.number("ejectionJitterRatio", 0, 1),
    maxEjectionPercent: outlier.wrapped("maxEjectionPercent", 0, 100),
  };
}
