import { CounterFamily, GaugeFamily, HistogramFamily, type CellState, type Family } from "./family.js";
import { IdempotencyMetrics } from "./idempotency-metrics.js";
import { PolicyFamilies } from "./policy-families.js";
import { counter, gauge } from "./standard-metrics.js";

/** Seconds that a request may wait for its turn. */
const waitBounds = Float64Array.of(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10);

type AnyFamily = Family<string, unknown>;

/** All metrics of one process. Key: name of the family. */
export type MetricsState = ReadonlyMap<string, readonly CellState[]>;

/**
 * Every metric of the sidecar, declared once. docs/metrics.md is checked against it. Labels come from configuration and
 * from fixed sets, never from a request: the number of series does not depend on what clients send.
 */
export class Metrics extends PolicyFamilies {
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
  readonly certificateLifeLeft = gauge(
    "remora_certificate_life_left_ratio",
    "Part of its life that the certificate in use still has, 1 to 0.",
  );
  readonly certificateServedDelay = gauge(
    "remora_certificate_served_delay_seconds",
    "From the last renewal to the proof that the inbound listener serves the new certificate.",
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
    help: "Retries not made because the budget was spent or too many were under way.",
    labels: ["cluster"],
  });
  readonly retriesSuppressed = new CounterFamily({
    name: "remora_retries_suppressed_total",
    help: "Retries not made because another hop of the request's way makes or has made them.",
    labels: ["cluster"],
  });
  readonly expiredRequests = new CounterFamily({
    name: "remora_expired_requests_total",
    help: "Requests refused because their caller's deadline was over when they came, by direction (inbound, outbound).",
    labels: ["direction"],
    maxSeries: 2,
  });
  readonly breakerTransitions = new CounterFamily({
    name: "remora_breaker_transitions_total",
    help: "State changes of endpoint breakers, by new state (open, half_open, closed).",
    labels: ["cluster", "to"],
  });
  readonly serviceBreakerState = new GaugeFamily({
    name: "remora_service_breaker_state",
    help: "State of a service breaker: 0 closed, 1 half-open, 2 open. Several workers: the worst of theirs.",
    labels: ["cluster"],
    merge: "max",
  });
  readonly serviceBreakerTransitions = new CounterFamily({
    name: "remora_service_breaker_transitions_total",
    help: "State changes of service breakers, by new state (open, half_open, closed).",
    labels: ["cluster", "to"],
  });
  readonly serviceBreakerRejected = new CounterFamily({
    name: "remora_service_breaker_rejected_total",
    help: "Requests that a service breaker ended with circuit_open.",
    labels: ["cluster"],
  });
  readonly slowCalls = new CounterFamily({
    name: "remora_slow_calls_total",
    help: "Calls slower than slowCalls.threshold, by breaker (endpoint: attempts, service: requests).",
    labels: ["cluster", "breaker"],
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
  readonly bulkheadActive = new GaugeFamily({
    name: "remora_bulkhead_requests_active",
    help: "Attempts under way at a cluster with bulkheads, by class.",
    labels: ["cluster", "priority"],
  });
  readonly bulkheadPending = new GaugeFamily({
    name: "remora_bulkhead_requests_pending",
    help: "Requests that wait for a place at a cluster with bulkheads, by class.",
    labels: ["cluster", "priority"],
  });
  readonly bulkheadRejected = new CounterFamily({
    name: "remora_bulkhead_rejected_total",
    help: "Requests that a bulkhead turned away, by class and reason (full, timeout).",
    labels: ["cluster", "priority", "reason"],
  });
  readonly bulkheadWait = new HistogramFamily({
    name: "remora_bulkhead_wait_seconds",
    help: "Time that requests waited for a place at a cluster with bulkheads, by class, in seconds.",
    labels: ["cluster", "priority"],
    maxSeries: 300,
    bounds: waitBounds,
  });
  readonly inboundLimit = gauge(
    "remora_inbound_concurrency_limit",
    "Requests that may be under way at the application at once, by adaptiveConcurrency or loadShedding.",
  );
  readonly inboundBaseline = gauge(
    "remora_inbound_baseline_latency_seconds",
    "Latency of the application without a queue, as adaptiveConcurrency knows it, in seconds.",
    "max",
  );
  readonly inboundActive = new GaugeFamily({
    name: "remora_inbound_requests_active",
    help: "Requests under way at the application, by class; counted while there is a limit.",
    labels: ["priority"],
    maxSeries: 3,
  });
  readonly shed = new CounterFamily({
    name: "remora_shed_total",
    help: "Requests turned away because the application was overloaded, by class.",
    labels: ["priority"],
    maxSeries: 3,
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
