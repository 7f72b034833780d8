import { isPanic } from "./balance/panic.js";
import type { Bootstrap } from "./config/bootstrap.js";
import { parseClusterName } from "./config/cluster-name.js";
import type { ErrorCode } from "./errors/error-table.js";
import type { LimitMeter } from "./http2/limits.js";
import type { LoadShedder, SheddingMeters } from "./policy/load-shedding.js";
import type { RetryMeters } from "./policy/retry.js";
import type { BreakerEvent } from "./policy/endpoint-breaker.js";
import type { ServiceBreakerEvent } from "./policy/service-breaker.js";
import type { ClusterMeters } from "./proxy/cluster.js";
import type { Cluster } from "./proxy/cluster.js";
import { observe } from "./proxy/observe.js";
import { TcpObserver } from "./proxy/observe-tcp.js";
import { qualifiedService } from "./qualified-service.js";
import type { RequestContext } from "./stack/request-context.js";
import type { Layer } from "./stack/service.js";
import type { Log } from "./sidecar.js";
import { openAccessLog, type AccessLog } from "./telemetry/access-log.js";
import { BreakerMetrics, breakerStateValue } from "./telemetry/breaker-metrics.js";
import { Counter, Gauge } from "./telemetry/cells.js";
import { ClusterMetricsByName, type ClusterMetrics } from "./telemetry/cluster-metrics.js";
import { ListenerMetrics } from "./telemetry/listener-metrics.js";
import { MetricsByPeer } from "./telemetry/metrics-by-peer.js";
import { Metrics } from "./telemetry/metrics.js";
import { MetricsRegistry } from "./telemetry/registry.js";
import { RequestMetrics, type Party, type RequestParties } from "./telemetry/request-metrics.js";
import { TcpMetrics } from "./telemetry/tcp-metrics.js";
import { priorityClasses } from "./traffic/priority.js";
import type { Clock } from "./time/clock.js";

const defectLogMs = 1000;

/** The sidecar's metrics and access log, in the shapes that its parts take. */
export class SidecarTelemetry {
  readonly metrics = new Metrics();
  readonly registry = new RefreshedRegistry(this.metrics, () => this.refresh());
  readonly accessLog: AccessLog | undefined;
  readonly inboundListener: ListenerMetrics;
  readonly outboundListener: ListenerMetrics;
  readonly #bootstrap: Bootstrap;
  readonly #clock: Clock;
  readonly #log: Log;
  /** When a defect was logged last, monotonic milliseconds. */
  #defectAtMs = -Infinity;
  readonly #trustDomain: string;
  readonly #self: Party;
  readonly #clusters: ClusterMetricsByName;
  /** Service breakers, and slow calls of both kinds. */
  readonly breakers = new BreakerMetrics(this.metrics);
  /** Names of the clusters that the operator named: they have series before the first request. */
  readonly #declared: ReadonlySet<string>;
  readonly #inbound: MetricsByPeer<RequestMetrics>;
  /** Key: cluster name; "" = requests that found none. */
  readonly #outbound = new Map<string, RequestMetrics>();
  /** Key: cluster name. */
  readonly #outboundTcp = new Map<string, TcpMetrics>();
  readonly #tcpObservers: TcpObserver[] = [];
  #liveClusters: () => Iterable<Cluster> = () => [];
  /** Key: direction and code. */
  readonly #errors = new Map<string, Counter>();

  constructor(bootstrap: Bootstrap, identity: string, trustDomain: string, clock: Clock, log: Log) {
    const { service, namespace, accessLog, meta, workers = 1 } = bootstrap;
    this.#log = log;
    this.#bootstrap = bootstrap;
    this.#clock = clock;
    this.#trustDomain = trustDomain;
    this.#self = { workload: service, namespace, principal: identity, version: meta["version"] ?? "" };
    this.#clusters = new ClusterMetricsByName(this.metrics, service);
    this.#declared = new Set(bootstrap.upstreams.map((each) => qualifiedService(each.service, namespace)));
    this.inboundListener = new ListenerMetrics(this.metrics, service, "public_listener");
    this.outboundListener = new ListenerMetrics(this.metrics, service, "outbound");
    this.#inbound = new MetricsByPeer(
      { destination: this.#self, trustDomain, protocol: "http" },
      (parties) => new RequestMetrics(this.metrics, parties),
    );
    this.accessLog = openAccessLog({
      ...accessLog,
      clock,
      dropped: this.metrics.accessLogDropped.cell({}),
      isShared: workers > 1,
    });
  }

  observeInbound(): Layer {
    const { accessLog } = this;
    return observe({
      clock: this.#clock,
      listener: this.inboundListener,
      requestMetrics: (request) => this.#inbound.of(request.peerId),
      errorCounter: (code) => this.errorCounter("inbound", code),
      accessLog,
      onDefect: (cause) => this.#defect(cause),
    });
  }

  observeOutbound(): Layer {
    const { accessLog } = this;
    return observe({
      clock: this.#clock,
      listener: this.outboundListener,
      requestMetrics: (request) => this.#toCluster(request),
      errorCounter: (code) => this.errorCounter("outbound", code),
      accessLog,
      onDefect: (cause) => this.#defect(cause),
    });
  }

  /** Raw TCP from verified peers to the application. */
  observeInboundTcp(): Layer {
    const parties = { destination: this.#self, trustDomain: this.#trustDomain, protocol: "tcp" } as const;
    const byPeer = new MetricsByPeer(parties, (each) => new TcpMetrics(this.metrics, each));
    return this.#observeTcp("inbound", ({ peerId }) => byPeer.of(peerId));
  }

  /** Raw TCP from the application to one cluster. */
  observeOutboundTcp(cluster: string): Layer {
    return this.#observeTcp("outbound", () => this.#tcpToCluster(cluster));
  }

  #observeTcp(direction: "inbound" | "outbound", metrics: (request: RequestContext) => TcpMetrics): Layer {
    const observer = new TcpObserver({
      clock: this.#clock,
      metrics,
      errorCounter: (code) => this.errorCounter(direction, code),
      accessLog: this.accessLog,
      onDefect: (cause) => this.#defect(cause),
    });
    this.#tcpObservers.push(observer);
    return observer.layer;
  }

  errorCounter(direction: "inbound" | "outbound", code: ErrorCode): Counter {
    const key = `${direction} ${code}`;
    let cell = this.#errors.get(key);
    if (cell === undefined) this.#errors.set(key, (cell = this.metrics.errors.cell({ code, direction })));
    return cell;
  }

  cluster(name: string): ClusterMetrics {
    const { key, datacenter } = parseClusterName(name);
    return this.#clusters.of(name, key.split(".", 1)[0] ?? key, datacenter);
  }

  clusterMeters(name: string): ClusterMeters {
    const cells = this.cluster(name);
    return {
      active: cells.requestsActive,
      rejected: cells.pendingOverflow,
      panics: cells.panics,
      retries: cells.retries,
      successes: cells.retrySuccesses,
      overflows: cells.retryBudgetDenied,
      exhausted: cells.retriesExhausted,
      suppressed: cells.retriesSuppressed,
    };
  }

  /** The application as an upstream: not a cluster of the mesh, so its cells are not exposed. */
  appMeters(): RetryMeters & { readonly active: Gauge; readonly rejected: Counter } {
    const unexposed = (): Counter => new Counter();
    return {
      active: new Gauge(),
      rejected: unexposed(),
      retries: unexposed(),
      successes: unexposed(),
      overflows: unexposed(),
      exhausted: unexposed(),
    };
  }

  /** By class, in the order of priorityClasses. */
  sheddingMeters(): readonly SheddingMeters[] {
    const { inboundActive, shed } = this.metrics;
    return priorityClasses.map((priority) => ({
      active: inboundActive.cell({ priority }),
      shed: shed.cell({ priority }),
    }));
  }

  /** What a shedder goes by; undefined = there is none any more. */
  exposeShedder(shedder: Pick<LoadShedder, "limit" | "baselineMs"> | undefined): void {
    const { inboundLimit, inboundBaseline } = this.metrics;
    if (shedder === undefined) {
      inboundLimit.remove({});
      inboundBaseline.remove({});
    } else {
      inboundLimit.read({}, () => shedder.limit);
      inboundBaseline.read({}, () => shedder.baselineMs / 1000);
    }
  }

  /** Requests whose caller's time was over when they came. */
  expired(direction: "inbound" | "outbound"): Counter {
    return this.metrics.expiredRequests.cell({ direction });
  }

  breakerChanged(cluster: string, event: BreakerEvent): void {
    const to = event.state === "half-open" ? "half_open" : event.state;
    this.cluster(cluster).breakerTransitions[to].value++;
  }

  serviceBreakerChanged(cluster: string, { to }: ServiceBreakerEvent): void {
    const cells = this.breakers.service(cluster);
    cells.state.value = breakerStateValue[to];
    cells.transitions[to === "half-open" ? "half_open" : to].value++;
  }

  /** Counts what peers do that HTTP/2 has bounds for. */
  limitMeter(side: "downstream" | "upstream"): LimitMeter {
    return (limit) => void this.metrics.http2Limits.cell({ limit, side }).value++;
  }

  peerRefused(reason: string): void {
    this.metrics.peerRefusals.cell({ reason }).value++;
  }

  /** The clusters whose state is read whenever somebody scrapes. */
  exposeClusters(clusters: () => Iterable<Cluster>): void {
    this.#liveClusters = clusters;
  }

  /**
   * Brings the gauges that are read off the clusters up to date, and forgets the series of clusters that are gone. Before
   * each scrape, and after each change of the configuration: nobody may ever scrape.
   */
  refresh(): void {
    for (const observer of this.#tcpObservers) observer.settle();
    const clusters = this.#liveClusters();
    const nowMs = this.#clock.monotonicMs();
    const names = new Set<string>();
    for (const cluster of clusters) {
      const { name, loadBalancer, maxRequests } = cluster.config;
      names.add(name);
      cluster.breakers.service?.look(nowMs);
      const cells = this.#declared.has(name) ? this.cluster(name) : this.#clusters.known(name);
      if (cells === undefined) continue;
      const total = cluster.endpoints.length;
      const { balanced } = cluster;
      const open = balanced.filter((endpoint) => endpoint.gate.isOpen(nowMs)).length;
      cells.membershipTotal.value = total;
      cells.membershipHealthy.value = open;
      cells.ejectionsActive.value = cluster.endpoints.filter((endpoint) => endpoint.gate.isEjected).length;
      if (cluster.config.healthChecks !== undefined)
        cells.healthChecks().healthy.value = cluster.endpoints.filter(
          ({ health }) => health.isHealthy,
        ).length;
      cells.panic.value = isPanic(open, balanced.length, loadBalancer.panicThresholdPercent) ? 1 : 0;
      cells.requestsOpen.value = cells.requestsActive.value >= maxRequests ? 1 : 0;
      cells.retryBudgetSpent.value = cells.retries.value;
    }
    this.#clusters.keepOnly(names);
    this.breakers.keepOnly(names);
    for (const [name, metrics] of this.#outbound) {
      if (name === "" || names.has(name)) continue;
      metrics.forget();
      this.#outbound.delete(name);
    }
    for (const [name, metrics] of this.#outboundTcp) {
      if (names.has(name)) continue;
      metrics.forget();
      this.#outboundTcp.delete(name);
    }
  }

  async close(): Promise<void> {
    await this.accessLog?.close();
  }

  /** The metric counts them all; the log gets one a second with its stack, or a defect would fill the disk. */
  #defect(cause: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#defectAtMs < defectLogMs) return;
    this.#defectAtMs = nowMs;
    const error = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    this.#log("error", "a request failed by a defect of the sidecar", { error });
  }

  #toCluster(request: RequestContext): RequestMetrics {
    const known = this.#outbound.get(request.clusterName);
    return known ?? this.#addCluster(request.clusterName);
  }

  #addCluster(name: string): RequestMetrics {
    const made = new RequestMetrics(this.metrics, this.#partiesTo(name, "http"));
    this.#outbound.set(name, made);
    return made;
  }

  #tcpToCluster(name: string): TcpMetrics {
    let metrics = this.#outboundTcp.get(name);
    if (metrics === undefined) {
      metrics = new TcpMetrics(this.metrics, this.#partiesTo(name, "tcp"));
      this.#outboundTcp.set(name, metrics);
    }
    return metrics;
  }

  #partiesTo(cluster: string, protocol: RequestParties["protocol"]): RequestParties {
    const [workload = "", namespace = this.#bootstrap.namespace] =
      cluster === "" ? ["unknown"] : parseClusterName(cluster).key.split(".");
    const trustDomain = this.#trustDomain;
    const principal = cluster === "" ? "unknown" : `spiffe://${trustDomain}/ns/${namespace}/svc/${workload}`;
    return {
      reporter: "source",
      source: this.#self,
      destination: { workload, namespace, principal, version: "" },
      trustDomain,
      protocol,
      security: cluster === "" ? "unknown" : "mutual_tls",
    };
  }
}

/** Brings what is read off live objects up to date before each exposition. */
class RefreshedRegistry extends MetricsRegistry {
  readonly #refresh: () => void;

  constructor(metrics: Metrics, refresh: () => void) {
    super(metrics);
    this.#refresh = refresh;
  }

  override text(): Promise<string> {
    this.#refresh();
    return super.text();
  }
}
