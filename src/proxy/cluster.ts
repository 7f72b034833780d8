import { EndpointSet } from "../balance/endpoint-set.js";
import { forget, peakEwmaLatency } from "../balance/peak-ewma.js";
import type { ClusterConfig, EndpointConfig } from "../config/snapshot.js";
import type { BreakerAnswer, BreakerCommand } from "../policy/breaker-command.js";
import { ClusterEndpoint } from "../policy/cluster-endpoint.js";
import { Bulkheads, type BulkheadsSettings } from "../policy/bulkheads.js";
import { concurrencyLimit } from "../policy/concurrency-limit.js";
import { EjectionBudget } from "../policy/ejection-budget.js";
import { EndpointBreaker, type BreakerEvent } from "../policy/endpoint-breaker.js";
import { endpointLayer } from "../policy/endpoint-layer.js";
import { hashPolicy } from "../policy/hash-policy.js";
import { HedgeState } from "../policy/hedge-state.js";
import { HealthGate } from "../policy/health-gate.js";
import { pickEndpoint } from "../policy/pick-endpoint.js";
import type { RetryMeters } from "../policy/retry.js";
import { RetryBudget } from "../policy/retry-budget.js";
import { RetryPlaces } from "../policy/retry-places.js";
import { SuccessRates } from "../policy/success-rates.js";
import { tunnelIdle } from "../policy/tunnel-idle.js";
import { DeferredTransport } from "../stack/deferred.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import { stack, type Layer, type Service } from "../stack/service.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { ClusterMetrics } from "../telemetry/cluster-metrics.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { attemptMetrics } from "./attempt-metrics.js";
import { ClusterBreakers, type BreakerHooks } from "./cluster-breakers.js";
import { ClusterHealth, type ClusterHealthOptions } from "./cluster-health.js";

/** The cells of one cluster, resolved when it appears. */
export interface ClusterMeters extends RetryMeters {
  readonly active: Gauge;
  readonly overflows: Counter;
  readonly rejected: Counter;
  readonly panics: Counter;
}

export interface ClusterOptions extends ClusterHealthOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Asked for when the cluster is first sent a request: those that it never sends to have no series. */
  readonly meters: () => ClusterMeters;
  readonly metrics: () => ClusterMetrics;
  readonly transport: (cluster: ClusterConfig, endpoint: EndpointConfig) => EndpointTransport;
  /** The sidecar's own zone; absent or "": not known. */
  readonly zone?: string;
  /** SPIFFE id of the sidecar's service. */
  readonly identity: string;
  readonly onBreaker: (cluster: string, endpoint: EndpointConfig, event: BreakerEvent) => void;
  readonly breakers: BreakerHooks;
}

/** A named upstream at run time. Endpoints, averages, breakers and the budget outlive changes that do not concern them. */
export class Cluster {
  readonly #options: ClusterOptions;
  #meters: ClusterMeters | undefined;
  #config: ClusterConfig;
  readonly #endpoints: EndpointSet<ClusterEndpoint>;
  readonly #ejections: EjectionBudget;
  readonly #rates: SuccessRates;
  readonly #breakers: ClusterBreakers;
  readonly #checks: ClusterHealth;
  #budget: RetryBudget | undefined;
  /** Once there were any: who is under way outlives every push. */
  #retryPlaces: RetryPlaces | undefined;
  /** Once there are any: who is under way and who waits outlives every push. */
  #bulkheads: Bulkheads | undefined;
  #hedging: HedgeState | undefined;
  #service: Service | undefined;

  constructor(config: ClusterConfig, endpoints: readonly EndpointConfig[], options: ClusterOptions) {
    this.#options = options;
    this.#config = config;
    this.#ejections = new EjectionBudget(config.breaker.maxEjectionPercent, () => this.#endpoints.balanced);
    this.#ejections.hasFailover = config.failover !== undefined;
    this.#rates = new SuccessRates(() => this.#endpoints.balanced);
    this.#endpoints = this.#newEndpoints();
    this.#breakers = new ClusterBreakers(config, {
      clock: options.clock,
      wheel: options.wheel,
      hooks: options.breakers,
      endpoints: this.#endpoints,
      ejections: this.#ejections,
    });
    this.#endpoints.update(endpoints);
    this.#checks = new ClusterHealth(this, options);
    this.#checks.sync();
  }

  get config(): ClusterConfig {
    return this.#config;
  }

  get endpoints(): readonly ClusterEndpoint[] {
    return this.#endpoints.endpoints;
  }

  /** Those that take part in the balancing: all but the ones that an operator has isolated. */
  get balanced(): readonly ClusterEndpoint[] {
    return this.#endpoints.balanced;
  }

  get meters(): ClusterMeters {
    return (this.#meters ??= this.#options.meters());
  }

  get metrics(): ClusterMetrics {
    return this.#options.metrics();
  }

  get budget(): RetryBudget {
    return (this.#budget ??= new RetryBudget(this.#config.retryBudget));
  }

  /** undefined when only the budget bounds its retries. */
  get retryPlaces(): RetryPlaces | undefined {
    const { maxRetries } = this.#config;
    return maxRetries === undefined ? undefined : (this.#retryPlaces ??= new RetryPlaces(maxRetries));
  }

  /** undefined when its requests are not hedged. */
  get hedging(): HedgeState | undefined {
    const { hedge } = this.#config;
    return hedge === undefined ? undefined : (this.#hedging ??= new HedgeState(hedge));
  }

  /** One attempt. A new object whenever the configuration changed: routes are composed anew then. */
  get service(): Service {
    return (this.#service ??= this.#compose());
  }

  /** Is there an endpoint that may get traffic now and is not among `tried`? */
  hasUsable(tried: readonly Upstream[], nowMs: number): boolean {
    return this.#endpoints.hasUsable(tried, nowMs);
  }

  /** Share of the endpoints that may get traffic now, 0 to 100, as of at most 100 ms ago. */
  usablePercent(nowMs: number): number {
    return this.#endpoints.usablePercent(nowMs);
  }

  get breakers(): ClusterBreakers {
    return this.#breakers;
  }

  /** What a whole request to the cluster passes first, retries inside of it; undefined: nothing. */
  get guard(): Layer | undefined {
    return this.#breakers.guard;
  }

  /** True: routes have to be composed anew, because there is a guard now that was not there before. */
  drive(command: BreakerCommand): { readonly answer: BreakerAnswer; readonly isGuardNew: boolean } {
    const before = this.guard;
    const answer = this.#breakers.drive(command);
    return { answer, isGuardNew: this.guard !== before };
  }

  updateEndpoints(endpoints: readonly EndpointConfig[]): void {
    this.#endpoints.update(endpoints);
    this.#checks.sync();
  }

  /** Takes a changed configuration together with the endpoints of its time. */
  update(config: ClusterConfig, endpoints: readonly EndpointConfig[]): void {
    const before = this.#config;
    const known = new Set(this.#endpoints.endpoints);
    this.#config = config;
    if (differs(before.retryBudget, config.retryBudget)) this.#budget = undefined;
    if (this.#retryPlaces !== undefined) this.#retryPlaces.limit = config.maxRetries ?? Infinity;
    if (config.hedge === undefined) this.#hedging = undefined;
    else this.#hedging?.configure(config.hedge);
    this.#breakers.configure(config);
    this.#ejections.maxEjectionPercent = config.breaker.maxEjectionPercent;
    this.#ejections.hasFailover = config.failover !== undefined;
    this.#endpoints.update(endpoints, config);
    const isRewired = differs(transportOf(before), transportOf(config));
    for (const endpoint of this.#endpoints.endpoints) {
      if (!known.has(endpoint)) continue;
      endpoint.gate.configure(config.breaker);
      // What is known of the endpoint does not depend on how it is connected to.
      if (isRewired) endpoint.replaceTransport(this.#transportTo(endpoint.config));
    }
    this.#bulkheads?.configure(this.#bulkheadSettings());
    this.#checks.sync();
    this.#service = undefined;
  }

  /** No new request comes here any more: those under way finish, retries included, and connections close as they fall idle. */
  retire(): void {
    this.#breakers.close();
    this.#checks.close();
    this.#endpoints.retire();
  }

  close(): void {
    this.#breakers.close();
    this.#checks.close();
    this.#endpoints.close();
  }

  #newEndpoints(): EndpointSet<ClusterEndpoint> {
    const { clock, onBreaker, breakers, metrics, zone = "" } = this.#options;
    const panics = (): Counter => this.meters.panics;
    return new EndpointSet<ClusterEndpoint>(this.#config, {
      clock,
      get panics() {
        return panics();
      },
      zone,
      zonePicks: () => metrics().zonePicks(),
      create: (key, endpoint) => {
        const health = new HealthGate();
        const breaker = new EndpointBreaker({
          health,
          config: this.#config.breaker,
          budget: this.#ejections,
          rates: this.#rates,
          clock,
          onEvent: (event) => {
            // A past latency must not keep the probe away.
            if (event.state === "half-open") forget(made);
            if (event.state === "closed") made.warmingSinceMs = clock.monotonicMs();
            onBreaker(this.#config.name, made.config, event);
          },
          onSlow: breakers.onSlowAttempt,
        });
        // Nothing is held while the first endpoints are made.
        breaker.isHeld = this.#breakers.isHeld(key);
        const made = new ClusterEndpoint(key, endpoint, breaker, this.#transportTo(endpoint), health);
        return made;
      },
    });
  }

  /** As the configuration is now; the connections come with the first request. */
  #transportTo(endpoint: EndpointConfig): EndpointTransport {
    const config = this.#config;
    return new DeferredTransport(() => this.#options.transport(config, endpoint));
  }

  /** What happens to one attempt, outermost first. */
  #compose(): Service {
    const { clock, wheel, metrics, identity } = this.#options;
    const { name, tunnelIdleMs, source, loadBalancer, subset } = this.#config;
    return stack(
      [
        // Before the pick: a full cluster must not cost a draw, nor count against an endpoint.
        this.#places(),
        // What passes from here on is an attempt that the cluster was sent.
        attemptMetrics(metrics(), clock),
        // Inside of all that counts: a silent tunnel takes a place in the cluster until it is cut. Live ones keep the time that
        // they began with.
        tunnelIdle({ idleMs: tunnelIdleMs, source, wheel, clock }),
        // Beside the pick, which reads the key at once: attempts of one request run at the same time where it is hedged.
        ...(loadBalancer.hashPolicy === undefined
          ? []
          : [hashPolicy(loadBalancer.hashPolicy, clock, identity)]),
      ],
      pickEndpoint({
        cluster: name,
        subset,
        source,
        endpoints: this.#endpoints,
        dispatch: endpointLayer(clock, peakEwmaLatency),
        clock,
      }),
    );
  }

  /** Who may take a place. Without bulkheads a plain count does. */
  #places(): Layer {
    const { clock, wheel, metrics } = this.#options;
    const { name, maxRequests, bulkheads, source } = this.#config;
    const { active, rejected } = this.meters;
    const scope = `cluster ${name}`;
    if (bulkheads === undefined) return concurrencyLimit({ scope, maxRequests, source, active, rejected });
    this.#bulkheads ??= new Bulkheads(
      { scope, active, rejected, meters: metrics().bulkheads(), wheel, clock },
      this.#bulkheadSettings(),
    );
    return this.#bulkheads.layer;
  }

  #bulkheadSettings(): BulkheadsSettings {
    const { maxRequests, bulkheads = {}, source } = this.#config;
    return { maxRequests, bulkheads, source };
  }
}

/** What a connection was opened for: another value needs other connections. */
function transportOf(config: ClusterConfig): unknown {
  const { identities, protocol, mtlsMode, connectTimeoutMs } = config;
  const { maxConnections, maxPendingRequests, maxConcurrentStreams, maxRequestsPerConnection, poolIdleMs } =
    config;
  const limits = [maxConnections, maxPendingRequests, maxConcurrentStreams, maxRequestsPerConnection];
  return [identities, protocol, mtlsMode, connectTimeoutMs, poolIdleMs, ...limits];
}

function differs(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}
