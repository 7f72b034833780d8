import { parseSpiffeId } from "../certs/spiffe-id.js";
import { authorizationLog } from "./authorization-log.js";
import type { ClusterView, WorkerView } from "./admin/admin-view.js";
import { driveBreakers } from "./breaker-commands.js";
import { breakerHooks, endpointBreakerChanged } from "./breaker-log.js";
import { clusterView } from "./cluster-view.js";
import { type Bootstrap, callsOthers } from "./config/bootstrap.js";
import type { EndpointConfig, Snapshot } from "./config/snapshot.js";
import type { TakenCalls } from "./discovery/call-reporter.js";
import type { ServedCheck } from "./identity/served-check.js";
import type { TrustSource } from "./identity/mesh-trust.js";
import { OpenPeers } from "./identity/open-peers.js";
import { watchOwnExpiry } from "./identity/own-expiry.js";
import type { CertificateSource, Svid } from "./identity/svid.js";
import { InboundSide } from "./inbound-side.js";
import { LatestValue } from "./lifecycle/latest-value.js";
import { OutboundSide } from "./outbound-side.js";
import { isOwnAdmin } from "./own-ports.js";
import { CallRecorder } from "./policy/call-recorder.js";
import { CheckSlots } from "./policy/check-slots.js";
import { Idempotencies } from "./policy/idempotencies.js";
import { MemoryStores } from "./policy/idempotency-memories.js";
import { SharedStores } from "./policy/idempotency-stores.js";
import { inboundPriorities } from "./policy/priority.js";
import type { BreakerAnswer, ServiceCommand } from "./policy/breaker-command.js";
import { RateLimits } from "./policy/rate-limits.js";
import { RequestMemory } from "./policy/request-memory.js";
import { SharedCounts } from "./policy/shared-counts.js";
import { streamIdle } from "./policy/stream-idle.js";
import { Authorization, prepareAuthorization } from "./proxy/authorization.js";
import { DataPlane } from "./proxy/data-plane.js";
import { InboundRules, prepareRules } from "./proxy/inbound-rules.js";
import type { Listen } from "./proxy/listener.js";
import { recordCall } from "./proxy/record-call.js";
import { RedisStore } from "./redis/redis-store.js";
import { SidecarTelemetry } from "./sidecar-telemetry.js";
import type { Log, Missing } from "./sidecar.js";
import { watchEventLoop } from "./telemetry/event-loop.js";
import type { Metrics } from "./telemetry/metrics.js";
import { PolicyMetrics } from "./telemetry/policy-metrics.js";
import { exposeProcess } from "./telemetry/process-metrics.js";
import type { MetricsRegistry } from "./telemetry/registry.js";
import type { Clock } from "./time/clock.js";
import { TimerWheel } from "./time/timer-wheel.js";
import type { Traffic } from "./traffic.js";
import { upstreamTransport } from "./upstream-transport.js";
import { version } from "./version.js";

export interface TrafficSideOptions {
  readonly bootstrap: Bootstrap;
  readonly nodeId: string;
  /** Must hold an identity by now. */
  readonly certificates: CertificateSource;
  readonly trust: TrustSource;
  /** Where connections come from. */
  readonly listen: Listen;
  readonly clock: Clock;
  readonly log: Log;
}

/** The traffic of a sidecar in one process: data plane, inbound and outbound side, and what they count. */
export class TrafficSide implements Traffic {
  /** The ports are all it takes. */
  readonly missing = new LatestValue<Missing>([]);
  readonly #options: TrafficSideOptions;
  readonly #telemetry: SidecarTelemetry;
  readonly #plane: DataPlane;
  readonly #rules: InboundRules;
  readonly #redis: RedisStore | undefined;
  readonly #recorder: CallRecorder | undefined;
  readonly #authorization: Authorization;
  readonly #inbound: InboundSide;
  readonly #outbound: OutboundSide;
  readonly #eventLoop: { close(): void };
  readonly #peers: OpenPeers;
  readonly #stopWatching: () => void;
  #adminPort: number;

  constructor(options: TrafficSideOptions) {
    const { bootstrap, nodeId, certificates, trust, clock, log } = options;
    const identity = certificates.get()?.id ?? "";
    const { trustDomain } = parseSpiffeId(identity);
    const wheel = new TimerWheel(clock);
    const checkSlots = new CheckSlots();
    const telemetry = new SidecarTelemetry(bootstrap, identity, trustDomain, clock, log);
    this.#options = options;
    this.#adminPort = bootstrap.adminPort;
    this.#telemetry = telemetry;
    const peers = new OpenPeers(trust, clock, (closed) => {
      for (const peer of closed)
        log("warn", "connections closed: the peer is not believed any more", { ...peer });
    });
    this.#peers = peers;
    this.#stopWatching = watchOwnExpiry(certificates, clock, () => {
      // Nobody would open one with us now: those that are open must not go on as if nothing had happened.
      const connections = peers.closeAll();
      log("error", "our own certificate has expired: mesh connections are closed and refused", {
        connections,
      });
    });
    const transport = {
      ...{ certificates, trust, peers, clock, wheel },
      hasForeignPeers: bootstrap.consulCa !== undefined,
      refuse: (endpoint: EndpointConfig) =>
        isOwnAdmin(this.#adminPort, endpoint) ? "this sidecar's own admin API listens there" : undefined,
      metrics: (name: string) => telemetry.cluster(name),
      onLimit: telemetry.limitMeter("upstream"),
    };
    this.#plane = new DataPlane({
      clock,
      wheel,
      policyMetrics: new PolicyMetrics(telemetry.metrics),
      onFaultExpired: (policy) => log("info", "fault injection ended: expired", { policy }),
      cluster: ({ name }) => ({
        clock,
        wheel,
        meters: () => telemetry.clusterMeters(name),
        metrics: () => telemetry.cluster(name),
        zone: bootstrap.zone,
        identity,
        checkSlots,
        callsNobody: !callsOthers(bootstrap),
        onHealth: (...event) => this.#healthChanged(...event),
        transport: (cluster, endpoint) => upstreamTransport(cluster, endpoint, transport),
        onBreaker: (cluster, endpoint, event) =>
          endpointBreakerChanged(cluster, endpoint, event, { telemetry, log }),
        breakers: breakerHooks(name, telemetry, log),
      }),
    });
    telemetry.exposeClusters(() => this.#plane.clusters());
    this.#redis = redisOf(options, telemetry.metrics, wheel);
    this.#rules = new InboundRules([
      // Outermost: what is refused costs nothing else.
      new RateLimits({
        clock,
        metrics: telemetry.metrics,
        counts: this.#redis === undefined ? undefined : new SharedCounts(this.#redis, trustDomain),
        onUnshared: ({ name, source, onUnavailable }) =>
          log("warn", "limit of scope global without --redis-url", { limit: name, source, onUnavailable }),
      }),
      // Outside of what may repeat or turn away: only what became of the whole request is kept.
      new Idempotencies({
        service: identity,
        stores: new SharedStores({
          memory: new MemoryStores(telemetry.metrics.idempotency, clock),
          ...{ shared: this.#redis, mesh: trustDomain, metrics: telemetry.metrics.idempotency, wheel },
          onUnshared: ({ name, source, onUnavailable }) =>
            log("warn", "idempotency with store redis without --redis-url", { name, source, onUnavailable }),
        }),
        ...{ metrics: telemetry.metrics.idempotency, wheel, clock },
      }),
      {
        layers: ({ streamIdle: idle }) => (idle === undefined ? [] : [streamIdle({ idle, wheel, clock })]),
        settle: () => undefined,
      },
      // After them: they have no classes.
      inboundPriorities,
    ]);
    const recorder = bootstrap.observeCallsMs === undefined ? undefined : new CallRecorder(bootstrap.appPort);
    this.#recorder = recorder;
    const policyMetrics = new PolicyMetrics(telemetry.metrics);
    this.#authorization = new Authorization({
      port: bootstrap.appPort,
      metrics: (policy, rule) => policyMetrics.authorization(policy, rule),
      onDecision: authorizationLog(log, clock),
      onJudged:
        recorder === undefined
          ? undefined
          : (request, verdict, rule) => recordCall(recorder, request, verdict, rule),
    });
    const parts = {
      ...{ plane: this.#plane, rules: this.#rules, authorization: this.#authorization },
      ...{ telemetry, wheel, memory: new RequestMemory() },
    };
    const side = { ...options, peers, identity, trustDomain, ...parts };
    this.#inbound = new InboundSide(side);
    this.#outbound = new OutboundSide({ ...side, nodeId });
    exposeProcess(clock, telemetry.metrics, version);
    this.#eventLoop = watchEventLoop(clock, telemetry.metrics);
  }

  get metrics(): Metrics {
    return this.#telemetry.metrics;
  }

  get registry(): MetricsRegistry {
    return this.#telemetry.registry;
  }

  get ports(): Traffic["ports"] {
    return {
      inbound: this.#inbound.port,
      outbound: this.#outbound.port,
      upstreams: this.#outbound.upstreamPorts,
    };
  }

  get snapshot(): Snapshot | undefined {
    return this.#plane.snapshot;
  }

  async open(adminPort: number): Promise<void> {
    this.#adminPort = adminPort;
    await this.#inbound.open();
    await this.#outbound.open();
  }

  apply(snapshot: Snapshot): void {
    if (this.#plane.snapshot?.version === snapshot.version) return;
    const rules = prepareRules(snapshot.inbound.rules);
    const authorization = prepareAuthorization(snapshot.inbound.authorization);
    this.#plane.apply(snapshot);
    this.#rules.use(rules);
    this.#authorization.use(authorization);
    this.#telemetry.refresh();
  }

  /** Brings what is read off live objects up to date, for whoever reads `metrics` without the registry. */
  refresh(): void {
    this.#telemetry.refresh();
  }

  /** As `clusters`, at once. */
  clusterViews(): readonly ClusterView[] {
    const nowMs = this.#options.clock.monotonicMs();
    return [...this.#plane.clusters()].map((cluster) => clusterView(cluster, nowMs));
  }

  clusters(): Promise<readonly ClusterView[]> {
    return Promise.resolve(this.clusterViews());
  }

  /** As `takeCalls`, at once. */
  callsTaken(): TakenCalls {
    const lost = this.#recorder?.lost ?? 0;
    return { calls: this.#recorder?.take() ?? [], lost };
  }

  takeCalls(): Promise<TakenCalls> {
    return Promise.resolve(this.callsTaken());
  }

  /** As `drive`, at once. */
  driveBreakers(command: ServiceCommand): BreakerAnswer {
    return driveBreakers(this.#plane, command);
  }

  drive(command: ServiceCommand): Promise<BreakerAnswer> {
    return Promise.resolve(this.driveBreakers(command));
  }

  workers(): readonly WorkerView[] {
    return [];
  }

  checkServed(svid: Svid): Promise<ServedCheck> {
    return this.#inbound.checkServed(svid);
  }

  drainInbound(): Promise<void> {
    return this.#inbound.drain(this.#options.bootstrap.drainTimeoutMs);
  }

  async close(): Promise<void> {
    this.#inbound.close();
    this.#outbound.close();
    this.#eventLoop.close();
    this.#plane.close();
    this.#peers.close();
    this.#stopWatching();
    this.#redis?.close();
    await this.#telemetry.close();
  }

  #healthChanged(
    cluster: string,
    { address, port }: EndpointConfig,
    isHealthy: boolean,
    reason: string,
  ): void {
    const fields = { cluster, endpoint: `${address}:${port}`, ...(isHealthy ? {} : { reason }) };
    this.#options.log(
      isHealthy ? "info" : "warn",
      isHealthy ? "endpoint healthy" : "endpoint unhealthy",
      fields,
    );
  }
}

/** Connects only when something that is configured needs it. */
function redisOf(
  { bootstrap: { redisUrl: url }, clock, log }: TrafficSideOptions,
  metrics: Metrics,
  wheel: TimerWheel,
): RedisStore | undefined {
  if (url === undefined) return undefined;
  const { host } = new URL(url);
  const up = metrics.redisUp.cell({});
  return new RedisStore({
    url,
    clock,
    wheel,
    onState: (isUp, reason) => {
      up.value = isUp ? 1 : 0;
      if (isUp) log("info", "Redis answers", { host });
      else log("warn", "no answer from Redis: what is counted there goes by onUnavailable", { host, reason });
    },
    onFailure: (failure) => void metrics.redisFailures.cell({ failure }).value++,
  });
}
