import type { BreakerView, ClusterView, EndpointView } from "./admin/admin-view.js";
import type { ClusterEndpoint } from "./policy/cluster-endpoint.js";
import type { HealthGate } from "./policy/health-gate.js";
import type { Cluster } from "./proxy/cluster.js";

/** A cluster as the admin API shows it. @param nowMs monotonic milliseconds. */
export function clusterView(cluster: Cluster, nowMs: number): ClusterView {
  const { config, endpoints, breakers } = cluster;
  const service = breakers.service?.describe();
  return {
    name: config.name,
    settings: {
      policy: config.loadBalancer.policy,
      max_requests: config.maxRequests,
      max_connections: config.maxConnections,
      mtls_mode: config.mtlsMode,
      source: config.source,
      ...(config.datacenter !== undefined && { datacenter: config.datacenter }),
      ...(service !== undefined && { breaker: service.state }),
    },
    ...(service !== undefined && { breaker: { ...service, reason: service.reason ?? "" } }),
    endpoints: endpoints.map((endpoint): EndpointView => {
      const breaker = endpoint.gate.describe();
      const isolatedForMs = breakers.isolatedForMs(endpoint.key);
      const isHealthy = isolatedForMs === undefined && endpoint.gate.isOpen(nowMs);
      return {
        address: endpoint.config.address,
        port: endpoint.config.port,
        isHealthy,
        healthFlags: healthFlags(breaker.state, isolatedForMs !== undefined, endpoint.health),
        weight: endpoint.config.weight,
        zone: endpoint.config.zone,
        stats: {
          rq_active: endpoint.inflight,
          rq_window: breaker.requestsInWindow,
          rq_error_window: breaker.failuresInWindow,
          ejections: breaker.ejections,
          ejected_for_ms: Math.round(breaker.remainingMs),
          latency_ms: Math.round(endpoint.latencyMs * 100) / 100,
        },
        breaker: endpointBreakerView(endpoint, isolatedForMs),
      };
    }),
  };
}

function healthFlags(
  state: BreakerView["state"],
  isIsolated: boolean,
  { isHealthy, reason }: HealthGate,
): string {
  if (isIsolated) return "/isolated_by_operator";
  // What Envoy does not say stands in parentheses.
  const flags = [
    ...(isHealthy ? [] : [`/failed_active_hc (${reason})`]),
    ...(state === "closed" ? [] : [`/failed_outlier_check (${state})`]),
  ];
  return flags.join("") || "healthy";
}

function endpointBreakerView({ gate }: ClusterEndpoint, isolatedForMs: number | undefined): BreakerView {
  const { state, reason, sinceMs, remainingMs, ejections, ...window } = gate.describe();
  const common = {
    requests: window.requestsInWindow,
    failures: window.failuresInWindow,
    slow: window.slowInWindow,
    openings: ejections,
    sinceMs,
  };
  if (isolatedForMs !== undefined)
    return { ...common, state: "isolated", reason: "operator", remainingMs: isolatedForMs, share: 0 };
  return { ...common, state, reason: reason ?? "", remainingMs, share: state === "closed" ? 1 : 0 };
}
