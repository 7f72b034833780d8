import { priorityClasses } from "../traffic/priority.js";
import { responseClass } from "./bounded-labels.js";
import type { Counter, Gauge, Histogram } from "./cells.js";
import type { Metrics } from "./metrics.js";

/** What breakers change into. */
export type BreakerStateName = "open" | "half_open" | "closed";

const classes = ["0", "1", "2", "3", "4", "5"] as const;

/** What a cluster with active health checks has besides. */
export interface HealthCheckCells {
  readonly attempts: Counter;
  readonly successes: Counter;
  readonly failures: Counter;
  /** Endpoints; set before a scrape. */
  readonly healthy: Gauge;
}

/** The cells of one cluster, resolved once. Made by ClusterMetricsByName. */
export interface ClusterMetrics {
  /** Attempts sent. */
  readonly requests: Counter;
  readonly requestTime: Histogram;
  /** Attempts under way. */
  readonly requestsActive: Gauge;
  /** Attempts that were retries. */
  readonly retries: Counter;
  /** Requests that a retry made good. */
  readonly retrySuccesses: Counter;
  /** Requests that failed with all their attempts used up. */
  readonly retriesExhausted: Counter;
  /** Retries that the budget paid for. */
  readonly retryBudgetSpent: Counter;
  /** Retries that the budget or the limit of those under way denied. */
  readonly retryBudgetDenied: Counter;
  /** Retries left to another hop. */
  readonly retriesSuppressed: Counter;
  readonly timeouts: Counter;
  /** Requests that a limit turned away. */
  readonly pendingOverflow: Counter;
  /** Picks that ignored ejection. */
  readonly panics: Counter;
  readonly connections: Counter;
  readonly http1Connections: Counter;
  readonly http2Connections: Counter;
  readonly connectFailures: Counter;
  readonly connectionsActive: Gauge;
  /** Endpoints of the cluster, those not ejected, and those ejected. Set before a scrape, as the next two are. */
  readonly membershipTotal: Gauge;
  readonly membershipHealthy: Gauge;
  readonly ejectionsActive: Gauge;
  /** 1 while so few endpoints are usable that ejection is ignored. */
  readonly panic: Gauge;
  /** 1 while the concurrency limit is reached. */
  readonly requestsOpen: Gauge;
  readonly breakerTransitions: Readonly<Record<BreakerStateName, Counter>>;
  /** Active health checks; exposed from the first call on. */
  healthChecks(): HealthCheckCells;
  /** Attempts that went to another cluster instead; exposed from the first call on. */
  failovers(to: string): Counter;
  /** Attempts by zone of the endpoint; exposed from the first call on. */
  zonePicks(): { readonly own: Counter; readonly other: Counter };
  /** By class, in the order of priorityClasses. Only clusters with bulkheads ask, and have these series. */
  bulkheads(): readonly BulkheadCells[];
  /** Counts one response head of an attempt. */
  response(status: number, durationMs: number): void;
}

/** The cells of one class of requests to a cluster with bulkheads. */
export interface BulkheadCells {
  readonly active: Gauge;
  readonly pending: Gauge;
  /** Requests turned away at once, and after waiting in vain. */
  readonly full: Counter;
  readonly expired: Counter;
  readonly waitSeconds: Histogram;
}

/**
 * The metrics of all clusters. A cluster keeps its cells over any number of config pushes, so that its counters do not
 * begin anew; what is gone is forgotten, so that series do not pile up.
 */
export class ClusterMetricsByName {
  readonly #metrics: Metrics;
  readonly #localService: string;
  readonly #datacenter: string;
  /** Key: name of the cluster. */
  readonly #known = new Map<string, { readonly cells: ClusterMetrics; readonly forget: () => void }>();

  /** `datacenter` is "dc1" where nothing else is known: Consul's dashboards ask for it by that name. */
  constructor(metrics: Metrics, localService: string, datacenter = "dc1") {
    this.#metrics = metrics;
    this.#localService = localService;
    this.#datacenter = datacenter;
  }

  /**
   * `cluster` is its name; `service` the first part of it, `datacenter` that of its instances when it is another one. The same
   * object for the same cluster.
   */
  of(cluster: string, service: string, datacenter = this.#datacenter): ClusterMetrics {
    const known = this.#known.get(cluster);
    if (known !== undefined) return known.cells;
    const made = makeCells(this.#metrics, {
      local_cluster: this.#localService,
      envoy_cluster_name: cluster,
      consul_source_service: this.#localService,
      consul_destination_service: service,
      consul_destination_datacenter: datacenter,
    });
    this.#known.set(cluster, made);
    return made.cells;
  }

  /** The cells of a cluster that has any: one that no request was sent to has none, and no series. */
  known(cluster: string): ClusterMetrics | undefined {
    return this.#known.get(cluster)?.cells;
  }

  /** Called when a snapshot was applied: series of clusters that are not in it are no longer exposed. */
  keepOnly(clusters: ReadonlySet<string>): void {
    for (const [cluster, { forget }] of this.#known) {
      if (clusters.has(cluster)) continue;
      forget();
      this.#known.delete(cluster);
    }
  }
}

interface CellsOf<L, C> {
  cell(labels: L): C;
  remove(labels: L): void;
}

interface ClusterLabels {
  readonly local_cluster: string;
  readonly envoy_cluster_name: string;
  readonly consul_source_service: string;
  readonly consul_destination_service: string;
  readonly consul_destination_datacenter: string;
}

function makeCells(metrics: Metrics, labels: ClusterLabels): { cells: ClusterMetrics; forget: () => void } {
  const own = { cluster: labels.envoy_cluster_name };
  const removals: (() => void)[] = [];
  const take = <L, C>(family: CellsOf<L, C>, labels: L): C => {
    removals.push(() => family.remove(labels));
    return family.cell(labels);
  };
  const byClass = classes.map((envoy_response_code_class) =>
    take(metrics.upstreamRequestsByClass, { ...labels, envoy_response_code_class }),
  );
  const requestTime = take(metrics.upstreamRequestTime, labels);
  const transitions = metrics.breakerTransitions;
  /** Key: the other cluster. */
  const failovers = new Map<string, Counter>();
  let healthChecks: HealthCheckCells | undefined;
  let zonePicks: ReturnType<ClusterMetrics["zonePicks"]> | undefined;
  let bulkheads: readonly BulkheadCells[] | undefined;
  const bulkheadOf = (priority: string): BulkheadCells => {
    const labels = { ...own, priority };
    return {
      active: take(metrics.bulkheadActive, labels),
      pending: take(metrics.bulkheadPending, labels),
      full: take(metrics.bulkheadRejected, { ...labels, reason: "full" }),
      expired: take(metrics.bulkheadRejected, { ...labels, reason: "timeout" }),
      waitSeconds: take(metrics.bulkheadWait, labels),
    };
  };
  const cells: ClusterMetrics = {
    requests: take(metrics.upstreamRequests, labels),
    requestTime,
    requestsActive: take(metrics.upstreamRequestsActive, labels),
    retries: take(metrics.upstreamRetries, labels),
    retrySuccesses: take(metrics.upstreamRetrySuccesses, labels),
    retriesExhausted: take(metrics.upstreamRetriesExhausted, labels),
    retryBudgetSpent: take(metrics.retryBudgetSpent, own),
    retryBudgetDenied: take(metrics.retryBudgetDenied, own),
    retriesSuppressed: take(metrics.retriesSuppressed, own),
    timeouts: take(metrics.upstreamTimeouts, labels),
    pendingOverflow: take(metrics.upstreamPendingOverflow, labels),
    panics: take(metrics.panics, labels),
    connections: take(metrics.upstreamConnections, labels),
    http1Connections: take(metrics.upstreamHttp1Connections, labels),
    http2Connections: take(metrics.upstreamHttp2Connections, labels),
    connectFailures: take(metrics.upstreamConnectFailures, labels),
    connectionsActive: take(metrics.upstreamConnectionsActive, labels),
    membershipTotal: take(metrics.membershipTotal, labels),
    membershipHealthy: take(metrics.membershipHealthy, labels),
    ejectionsActive: take(metrics.ejectionsActive, labels),
    panic: take(metrics.panic, own),
    requestsOpen: take(metrics.requestsOpen, labels),
    breakerTransitions: {
      open: take(transitions, { ...own, to: "open" }),
      half_open: take(transitions, { ...own, to: "half_open" }),
      closed: take(transitions, { ...own, to: "closed" }),
    },
    healthChecks: () =>
      (healthChecks ??= {
        attempts: take(metrics.healthCheckAttempts, labels),
        successes: take(metrics.healthCheckSuccesses, labels),
        failures: take(metrics.healthCheckFailures, labels),
        healthy: take(metrics.healthCheckHealthy, labels),
      }),
    failovers(to) {
      const known = failovers.get(to) ?? take(metrics.failovers, { ...own, to });
      failovers.set(to, known);
      return known;
    },
    zonePicks: () =>
      (zonePicks ??= {
        own: take(metrics.zonePicks, { ...own, zone: "own" }),
        other: take(metrics.zonePicks, { ...own, zone: "other" }),
      }),
    bulkheads: () => (bulkheads ??= priorityClasses.map(bulkheadOf)),
    response(status, durationMs) {
      (byClass[Number(responseClass(status))] as Counter).value++;
      requestTime.observe(durationMs);
    },
  };
  return { cells, forget: () => removals.forEach((remove) => remove()) };
}
