import type { ClusterView, EndpointView } from "./admin/admin-view.js";
import type { Cluster } from "./proxy/cluster.js";

/** A cluster as the admin API shows it. @param nowMs monotonic milliseconds. */
export function clusterView(cluster: Cluster, nowMs: number): ClusterView {
  const { config, endpoints } = cluster;
  return {
    name: config.name,
    settings: {
      policy: config.loadBalancer.policy,
      max_requests: config.maxRequests,
      max_connections: config.maxConnections,
      mtls_mode: config.mtlsMode,
      source: config.source,
    },
    endpoints: endpoints.map((endpoint): EndpointView => {
      const breaker = endpoint.gate.describe();
      const isHealthy = endpoint.gate.isOpen(nowMs);
      return {
        address: endpoint.config.address,
        port: endpoint.config.port,
        isHealthy,
        healthFlags: breaker.state === "closed" ? "healthy" : `/failed_outlier_check (${breaker.state})`,
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
      };
    }),
  };
}
