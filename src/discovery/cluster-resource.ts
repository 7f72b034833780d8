import type { ClusterConfig } from "../config/snapshot.js";
import { decodeBreaker, encodeBreaker } from "./breaker-resource.js";
import { decodeBulkheads, encodeBulkheads } from "./bulkhead-resource.js";
import { decodeIdentities, encodeTls } from "./cluster-tls.js";
import { decodeFailover, encodeFailover } from "./failover-resource.js";
import { Fields, duration } from "./fields.js";
import { decodeHealthChecks, encodeHealthChecks } from "./health-check-resource.js";
import { sameStream } from "./listener-resource.js";
import {
  decodeLoadBalancer,
  decodeSubset,
  encodeBalancing,
  encodeLoadBalancer,
} from "./load-balancer-resource.js";
import { decodeProtocol, encodeProtocol } from "./protocol.js";
import { decodeHedge, encodeHedge } from "./hedge-resource.js";
import { decodeLocality, encodeLocality } from "./locality-resource.js";
import { decodeServiceBreaker, encodeServiceBreaker, encodeSlowCalls } from "./service-breaker-resource.js";
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
    ...(breaker.slowCalls !== undefined && { slowCalls: encodeSlowCalls(breaker.slowCalls) }),
    ...(cluster.serviceBreaker !== undefined && {
      serviceBreaker: encodeServiceBreaker(cluster.serviceBreaker),
    }),
    ...encodeLocality(cluster.locality),
    ...encodeFailover(cluster.failover),
    ...encodeHealthChecks(cluster.healthChecks),
    ...encodeBalancing(cluster),
    bulkheads: encodeBulkheads(cluster.bulkheads ?? {}),
    ...(cluster.hedge !== undefined && { hedge: encodeHedge(cluster.hedge) }),
    ...(cluster.datacenter !== undefined && { datacenter: cluster.datacenter }),
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
  const serviceBreaker = ours.optionalMessage("serviceBreaker");
  const breakers = cluster.message("circuitBreakers");
  const all = breakers.onlyMessage("thresholds");
  const each = breakers.onlyMessage("perHostThresholds");
  const bulkheads = decodeBulkheads(ours.messages("bulkheads"));
  const datacenter = ours.string("datacenter");
  const http = cluster.message("typedExtensionProtocolOptions").any(httpOptionsKey, wire.httpProtocolOptions);
  const common = http.message("commonHttpProtocolOptions");
  return {
    name: cluster.string("name"),
    service: ours.requiredString("service"),
    namespace: ours.requiredString("namespace"),
    identities: mtlsMode === "DISABLE" ? ours.strings("identities") : decodeIdentities(cluster),
    protocol: decodeProtocol(ours, "protocol"),
    mtlsMode,
    ...decodeSubset(ours),
    ...(datacenter !== "" && { datacenter }),
    loadBalancer: decodeLoadBalancer(cluster, ours),
    ...decodeLocality(ours),
    ...decodeFailover(ours),
    ...(ours.has("hedge") && { hedge: decodeHedge(ours.message("hedge")) }),
    ...decodeHealthChecks(ours),
    connectTimeoutMs: cluster.durationMs("connectTimeout"),
    maxRequests: all.wrapped("maxRequests", 0),
    ...(bulkheads !== undefined && { bulkheads }),
    maxConnections: each.wrapped("maxConnections", 0),
    maxPendingRequests: each.wrapped("maxPendingRequests", 0),
    tunnelIdleMs: ours.durationMs("tunnelIdle"),
    maxConcurrentStreams: ours.number("maxConcurrentStreams", 1, maxInteger),
    poolIdleMs: common.durationMs("idleTimeout"),
    ...(common.has("maxRequestsPerConnection") && {
      maxRequestsPerConnection: common.wrapped("maxRequestsPerConnection", 1),
    }),
    breaker: decodeBreaker(cluster.message("outlierDetection"), ours),
    ...(serviceBreaker !== undefined && { serviceBreaker: decodeServiceBreaker(serviceBreaker) }),
    retryBudget: {
      percent: all.message("retryBudget").message("budgetPercent").number("value", 0, Number.MAX_VALUE),
      minRetriesPerSecond: ours.number("minRetriesPerSecond", 0, Number.MAX_VALUE),
      windowMs: ours.number("retryBudgetWindowMs", 0, maxInteger),
    },
    ...(all.has("maxRetries") && { maxRetries: all.wrapped("maxRetries", 1) }),
    source: ours.string("source"),
  };
}

/** thresholds: all endpoints together; per_host_thresholds: each endpoint. */
function encodeLimits(cluster: ClusterConfig): object {
  const { maxRequests, maxRetries, retryBudget } = cluster;
  const all = {
    maxRequests: { value: maxRequests },
    // Envoy would keep to the budget alone; with us both bound.
    retryBudget: { budgetPercent: { value: retryBudget.percent } },
    ...(maxRetries !== undefined && { maxRetries: { value: maxRetries } }),
  };
  return {
    thresholds: [all],
    perHostThresholds: [
      {
        maxConnections: { value: cluster.maxConnections },
        maxPendingRequests: { value: cluster.maxPendingRequests },
      },
    ],
  };
}

function httpOptions({
  protocol,
  poolIdleMs,
  maxConcurrentStreams,
  maxRequestsPerConnection,
}: ClusterConfig): object {
  const isHttp2 = protocol === "http2" || protocol === "grpc";
  // The largest that Envoy accepts.
  const streams = { maxConcurrentStreams: { value: Math.min(maxConcurrentStreams, 2 ** 31 - 1) } };
  return {
    commonHttpProtocolOptions: {
      idleTimeout: duration(poolIdleMs),
      ...(maxRequestsPerConnection !== undefined && {
        maxRequestsPerConnection: { value: maxRequestsPerConnection },
      }),
    },
    explicitHttpConfig: isHttp2 ? { http2ProtocolOptions: streams } : { httpProtocolOptions: {} },
  };
}
