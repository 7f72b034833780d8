import {
  CounterFamily,
  GaugeFamily,
  HistogramFamily,
  type CellState,
  type Family,
  type GaugeMerge,
} from "./family.js";
import { IdempotencyMetrics } from "./idempotency-metrics.js";

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

type AnyFamily = Family<string, unknown>;

/** All metrics of one process. Key: name of the family. */
export type MetricsState = ReadonlyMap<string, readonly CellState[]>;

/**
 * Every metric of the sidecar, declared once. docs/metrics.md is checked against it. Labels come from configuration and
 * from fixed sets, never from a request: the number of series does not depend on what clients send.
 */
export class Metrics {
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
    "Endpoints that are not ejected by their breaker.",
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

  // Remora's own.
  readonly buildInfo = new GaugeFamily({
    name: "remora_build_info",
    help: "Always 1; the label is the running version.",
    labels: ["version"],
    maxSeries: 1,
    merge: "max",
  });
  readonly configInfo = new GaugeFamily({
    name: "remora_config_info",
    help: "Always 1; the label is the version of the snapshot in force.",
    labels: ["version"],
    maxSeries: 1,
  });
  readonly configAge = gauge("remora_config_age_seconds", "Time since the snapshot in force was received.");
  readonly snapshotStale = gauge(
    "remora_snapshot_stale",
    "1 while the snapshot comes from disk or the control plane cannot be reached.",
  );
  readonly xdsConnected = gauge("remora_xds_connected", "1 while the stream to the control plane is open.");
  readonly xdsNacks = counter("remora_xds_nacks_total", "Pushes refused; what was in force stays.");
  readonly certificateNotAfter = gauge(
    "remora_certificate_not_after_seconds",
    "When the certificate in use expires, in Unix seconds.",
  );
  readonly certificateRenewalFailures = counter(
    "remora_certificate_renewal_failures_total",
    "Renewals of the certificate that failed.",
  );
  readonly certificateNotServed = counter(
    "remora_certificate_not_served_total",
    "Renewed certificates that the inbound listener did not serve when it was asked over loopback.",
  );
  readonly retryBudgetSpent = new CounterFamily({
    name: "remora_retry_budget_spent_total",
    help: "Retries the budget paid for.",
    labels: ["cluster"],
  });
  readonly retryBudgetDenied = new CounterFamily({
    name: "remora_retry_budget_denied_total",
    help: "Retries not made because the budget was spent.",
    labels: ["cluster"],
  });
  readonly breakerTransitions = new CounterFamily({
    name: "remora_breaker_transitions_total",
    help: "State changes of endpoint breakers, by new state (open, half_open, closed).",
    labels: ["cluster", "to"],
  });
  readonly panic = new GaugeFamily({
    name: "remora_panic",
    help: "1 while too few endpoints are usable and ejection is ignored.",
    labels: ["cluster"],
    merge: "max",
  });
  readonly failovers = new CounterFamily({
    name: "remora_failover_attempts_total",
    help: "Attempts meant for a cluster that went to another one behind it.",
    labels: ["cluster", "to"],
  });
  readonly zonePicks = new CounterFamily({
    name: "remora_zone_picks_total",
    help: "Attempts of clusters that prefer the own zone, by zone of the endpoint (own, other).",
    labels: ["cluster", "zone"],
  });
  readonly fallbacks = new CounterFamily({
    name: "remora_fallbacks_total",
    help: "Failures that a fallback answered, by policy, kind of answer (reply, service, stale) and cause.",
    labels: ["policy", "kind", "cause"],
  });
  readonly fallbackMisses = new CounterFamily({
    name: "remora_fallback_misses_total",
    help: "Failures that a fallback had no answer to: nothing kept, or a request that must not be sent elsewhere.",
    labels: ["policy", "kind"],
  });
  readonly errors = new CounterFamily({
    name: "remora_errors_total",
    help: "Requests that ended with an error of docs/errors.md, by code and direction (inbound, outbound).",
    labels: ["code", "direction"],
    maxSeries: 200,
  });
  readonly http2Limits = new CounterFamily({
    name: "remora_http2_limits_total",
    help: "Bounds of HTTP/2 that a peer hit, by bound and by side of the peer (downstream, upstream).",
    labels: ["limit", "side"],
    maxSeries: 100,
  });
  readonly peerRefusals = new CounterFamily({
    name: "remora_peer_refusals_total",
    help: "mTLS peers refused, by reason.",
    labels: ["reason"],
    maxSeries: 50,
  });
  readonly rateLimitRequests = new CounterFamily({
    name: "remora_rate_limit_requests_total",
    help: "Requests that a rate limit of the service judged, by limit and result (admitted, limited).",
    labels: ["limit", "result"],
  });
  readonly rateLimitUnavailable = new CounterFamily({
    name: "remora_rate_limit_unavailable_total",
    help: "Requests that a limit of scope global judged by its onUnavailable, without Redis.",
    labels: ["limit"],
  });
  readonly redisUp = gauge("remora_redis_up", "1 while Redis answers; 0 also while nothing needs it.", "min");
  readonly redisFailures = new CounterFamily({
    name: "remora_redis_failures_total",
    help: "Scripts that Redis did not carry out, by failure (down, timeout, reply).",
    labels: ["failure"],
    maxSeries: 3,
  });
  readonly idempotency = new IdempotencyMetrics();
  readonly eventLoopLag = gauge(
    "remora_event_loop_lag_seconds",
    "Longest delay of the event loop since the last scrape.",
    "max",
  );
  readonly eventLoopStalls = new CounterFamily({
    name: "remora_event_loop_stalls_total",
    help: "Delays of the event loop, by what they exceeded (200ms, 1s).",
    labels: ["over"],
    maxSeries: 2,
  });
  readonly workers = new GaugeFamily({
    name: "remora_workers",
    help: "Processes that carry the traffic, by state: configured, alive.",
    labels: ["state"],
    maxSeries: 2,
  });
  readonly workerRestarts = counter(
    "remora_worker_restarts_total",
    "Worker processes that ended unexpectedly and were replaced.",
  );
  readonly draining = gauge("remora_draining", "1 while the sidecar is draining.");
  readonly accessLogDropped = counter(
    "remora_access_log_dropped_total",
    "Access log lines dropped because their destination is stuck or failing.",
  );
  readonly seriesOverflows = new GaugeFamily({
    name: "remora_series_overflows",
    help: "Label sets that did not fit and were counted under __other__, by metric.",
    labels: ["metric"],
    maxSeries: 100,
  });

  /** All families, in the order of their declaration. */
  families(): readonly AnyFamily[] {
    const all = Object.values(this) as (AnyFamily | IdempotencyMetrics)[];
    return all.flatMap((each) => (each instanceof IdempotencyMetrics ? each.families() : [each]));
  }

  /** Every cell as plain data. */
  state(): MetricsState {
    for (const { name, overflows } of this.families())
      if (overflows > 0) this.seriesOverflows.cell({ metric: name }).value = overflows;
    return new Map(this.families().map((family) => [family.name, family.state()]));
  }

  /** Merges another process's metrics into these. `what` = "counts": nothing but what only ever grows. */
  merge(state: MetricsState, what: "all" | "counts" = "all"): void {
    for (const family of this.families())
      if (what === "all" || family.type !== "gauge") family.merge(state.get(family.name) ?? []);
  }
}

const counter = (name: string, help: string): CounterFamily<never> =>
  new CounterFamily({ name, help, labels: [] });

const gauge = (name: string, help: string, merge: GaugeMerge = "sum"): GaugeFamily<never> =>
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
