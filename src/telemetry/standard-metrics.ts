import { CounterFamily, GaugeFamily, HistogramFamily, type GaugeMerge } from "./family.js";

/** Envoy's default histogram bounds: milliseconds, and bytes too (dashboards made for Istio and Envoy expect them). */
const envoyBounds = Float64Array.of(
  ...[0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000],
  ...[600_000, 1_800_000, 3_600_000],
);

/** Labels of Istio's standard metrics, without those of the answer. */
const partyLabels = [
  "reporter",
  "source_workload",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "source_canonical_service",
  "source_canonical_revision",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_cluster",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_service",
  "destination_service_name",
  "destination_service_namespace",
  "request_protocol",
  "connection_security_policy",
] as const;
const tcpLabels = [...partyLabels, "response_flags"] as const;
const istioLabels = [...partyLabels, "response_code", "grpc_response_status", "response_flags"] as const;
export type PartyLabel = (typeof partyLabels)[number];
export type IstioLabel = (typeof istioLabels)[number];
export type TcpLabel = (typeof tcpLabels)[number];

/** Labels by which Consul's dashboards find a service and its upstreams. */
const clusterLabels = [
  "local_cluster",
  "envoy_cluster_name",
  "consul_source_service",
  "consul_destination_service",
  "consul_destination_datacenter",
] as const;
export type ClusterLabel = (typeof clusterLabels)[number];
const listenerLabels = ["local_cluster", "envoy_http_conn_manager_prefix"] as const;
export type ListenerLabel = (typeof listenerLabels)[number];

/** Metrics under the names that Istio and Envoy gave them, for the dashboards made for these. */
export class StandardMetrics {
  // Istio's standard metrics. A histogram costs 22 lines per label set, hence its lower bound.
  readonly requests = new CounterFamily({
    name: "istio_requests_total",
    help: "Requests that have ended.",
    labels: istioLabels,
    maxSeries: 2000,
  });
  readonly requestDuration = new HistogramFamily({
    name: "istio_request_duration_milliseconds",
    help: "Time from the request head to the end of the response, in milliseconds.",
    labels: istioLabels,
    maxSeries: 300,
    bounds: envoyBounds,
  });
  readonly requestBytes = new HistogramFamily({
    name: "istio_request_bytes",
    help: "Size of request bodies in bytes.",
    labels: istioLabels,
    maxSeries: 300,
    bounds: envoyBounds,
  });
  readonly responseBytes = new HistogramFamily({
    name: "istio_response_bytes",
    help: "Size of response bodies in bytes.",
    labels: istioLabels,
    maxSeries: 300,
    bounds: envoyBounds,
  });
  readonly tcpConnectionsOpened = tcpCounter(
    "istio_tcp_connections_opened_total",
    "TCP connections accepted.",
  );
  readonly tcpConnectionsClosed = tcpCounter(
    "istio_tcp_connections_closed_total",
    "TCP connections that are over.",
  );
  readonly tcpReceivedBytes = tcpCounter(
    "istio_tcp_received_bytes_total",
    "Bytes that clients sent over TCP connections, those of open connections included.",
  );
  readonly tcpSentBytes = tcpCounter(
    "istio_tcp_sent_bytes_total",
    "Bytes that clients were sent over TCP connections, those of open connections included.",
  );

  // Envoy's names, as Consul's dashboards use them: upstream side.
  readonly upstreamRequests = clusterCounter(
    "envoy_cluster_upstream_rq_total",
    "Attempts sent to the cluster.",
  );
  readonly upstreamRequestsByClass = new CounterFamily({
    name: "envoy_cluster_upstream_rq_xx",
    help: "Responses of the cluster by class of status.",
    labels: [...clusterLabels, "envoy_response_code_class"],
  });
  readonly upstreamRequestTime = new HistogramFamily({
    name: "envoy_cluster_upstream_rq_time",
    help: "Time of an attempt until its response head, in milliseconds.",
    labels: clusterLabels,
    maxSeries: 300,
    bounds: envoyBounds,
  });
  readonly upstreamRequestsActive = clusterGauge("envoy_cluster_upstream_rq_active", "Attempts under way.");
  readonly upstreamRetries = clusterCounter("envoy_cluster_upstream_rq_retry", "Attempts that were retries.");
  readonly upstreamRetrySuccesses = clusterCounter(
    "envoy_cluster_upstream_rq_retry_success",
    "Requests that a retry made good.",
  );
  readonly upstreamRetriesExhausted = clusterCounter(
    "envoy_cluster_upstream_rq_retry_limit_exceeded",
    "Requests that failed with all their attempts used up.",
  );
  readonly upstreamTimeouts = clusterCounter(
    "envoy_cluster_upstream_rq_timeout",
    "Attempts ended by a timeout.",
  );
  readonly upstreamPendingOverflow = clusterCounter(
    "envoy_cluster_upstream_rq_pending_overflow",
    "Requests refused because the concurrency limit or the queue for a connection was full.",
  );
  readonly upstreamConnections = clusterCounter(
    "envoy_cluster_upstream_cx_total",
    "Connections opened to the cluster.",
  );
  readonly upstreamHttp1Connections = clusterCounter(
    "envoy_cluster_upstream_cx_http1_total",
    "Connections opened to the cluster that speak HTTP/1.1.",
  );
  readonly upstreamHttp2Connections = clusterCounter(
    "envoy_cluster_upstream_cx_http2_total",
    "Connections opened to the cluster that speak HTTP/2.",
  );
  readonly upstreamConnectFailures = clusterCounter(
    "envoy_cluster_upstream_cx_connect_fail",
    "Connections that could not be opened.",
  );
  readonly upstreamConnectionsActive = clusterGauge("envoy_cluster_upstream_cx_active", "Open connections.");
  readonly membershipHealthy = clusterGauge(
    "envoy_cluster_membership_healthy",
    "Endpoints that neither breaker nor health checks keep out.",
    "min",
  );
  readonly membershipTotal = clusterGauge(
    "envoy_cluster_membership_total",
    "Endpoints of the cluster.",
    "max",
  );
  readonly ejectionsActive = clusterGauge(
    "envoy_cluster_outlier_detection_ejections_active",
    "Endpoints ejected by their breaker now.",
    "max",
  );
  readonly healthCheckAttempts = clusterCounter(
    "envoy_cluster_health_check_attempt",
    "Health checks of endpoints that were begun.",
  );
  readonly healthCheckSuccesses = clusterCounter(
    "envoy_cluster_health_check_success",
    "Health checks of endpoints that passed.",
  );
  readonly healthCheckFailures = clusterCounter(
    "envoy_cluster_health_check_failure",
    "Health checks of endpoints that failed.",
  );
  readonly healthCheckHealthy = clusterGauge(
    "envoy_cluster_health_check_healthy",
    "Endpoints that their health checks call healthy.",
    "min",
  );
  readonly panics = clusterCounter(
    "envoy_cluster_lb_healthy_panic",
    "Choices of an endpoint that ignored ejection because too few were usable.",
  );
  readonly requestsOpen = clusterGauge(
    "envoy_cluster_circuit_breakers_default_rq_open",
    "1 while the concurrency limit of the cluster is reached.",
    "max",
  );

  // Envoy's names: downstream side and process.
  readonly downstreamRequests = listenerCounter("envoy_http_downstream_rq_total", "Requests received.");
  readonly downstreamRequestsByClass = new CounterFamily({
    name: "envoy_http_downstream_rq_xx",
    help: "Responses sent by class of status.",
    labels: [...listenerLabels, "envoy_response_code_class"],
  });
  readonly downstreamRequestsActive = listenerGauge("envoy_http_downstream_rq_active", "Requests under way.");
  readonly downstreamConnections = listenerCounter("envoy_http_downstream_cx_total", "Connections accepted.");
  readonly downstreamHttp1Connections = listenerCounter(
    "envoy_http_downstream_cx_http1_total",
    "Connections accepted that speak HTTP/1.1.",
  );
  readonly downstreamHttp2Connections = listenerCounter(
    "envoy_http_downstream_cx_http2_total",
    "Connections accepted that speak HTTP/2.",
  );
  readonly downstreamConnectionsActive = listenerGauge(
    "envoy_http_downstream_cx_active",
    "Open connections.",
  );
  readonly serverLive = gauge("envoy_server_live", "1 while the sidecar is serving and not draining.");
  readonly serverUptime = gauge("envoy_server_uptime", "Time since start, in seconds.", "max");
  readonly serverMemoryHeapSize = gauge("envoy_server_memory_heap_size", "Reserved heap, in bytes.");
  readonly serverMemoryAllocated = gauge("envoy_server_memory_allocated", "Used heap, in bytes.");
}

/** A counter without labels. */
export const counter = (name: string, help: string): CounterFamily<never> =>
  new CounterFamily({ name, help, labels: [] });

/** A gauge without labels. */
export const gauge = (name: string, help: string, merge: GaugeMerge = "sum"): GaugeFamily<never> =>
  new GaugeFamily({ name, help, labels: [], merge });

const tcpCounter = (name: string, help: string): CounterFamily<TcpLabel> =>
  new CounterFamily({ name, help, labels: tcpLabels, maxSeries: 2000 });

const clusterCounter = (name: string, help: string): CounterFamily<ClusterLabel> =>
  new CounterFamily({ name, help, labels: clusterLabels });

const clusterGauge = (name: string, help: string, merge: GaugeMerge = "sum"): GaugeFamily<ClusterLabel> =>
  new GaugeFamily({ name, help, labels: clusterLabels, merge });

const listenerCounter = (name: string, help: string): CounterFamily<ListenerLabel> =>
  new CounterFamily({ name, help, labels: listenerLabels });

const listenerGauge = (name: string, help: string): GaugeFamily<ListenerLabel> =>
  new GaugeFamily({ name, help, labels: listenerLabels });
