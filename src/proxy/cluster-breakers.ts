import type { EndpointSet } from "../balance/endpoint-set.js";
import type { ClusterConfig } from "../config/snapshot.js";
import type { BreakerAnswer, BreakerCommand, OverrideEvent } from "../policy/breaker-command.js";
import type { ClusterEndpoint } from "../policy/cluster-endpoint.js";
import type { EjectionBudget } from "../policy/ejection-budget.js";
import { serviceBreaker } from "../policy/service-breaker-layer.js";
import { ServiceBreaker, type ServiceBreakerEvent } from "../policy/service-breaker.js";
import type { Layer } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { BreakerControl } from "./breaker-control.js";

/** Who is told of the breakers of a cluster besides those of its endpoints. */
export interface BreakerHooks {
  readonly onService: (event: ServiceBreakerEvent) => void;
  readonly onOverride: (event: OverrideEvent) => void;
  /** Asked for when there is a service breaker. */
  readonly meters: () => { readonly rejected: Counter; readonly slowCalls: Counter };
  /** An attempt took longer than the endpoint breaker allows. */
  readonly onSlowAttempt: () => void;
}

export interface ClusterBreakersOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly hooks: BreakerHooks;
  readonly endpoints: EndpointSet<ClusterEndpoint>;
  readonly ejections: EjectionBudget;
}

/**
 * The service breaker of a cluster and what operators do to all its breakers. Both exist only where a document or an
 * operator asks for them.
 */
export class ClusterBreakers {
  readonly #options: ClusterBreakersOptions;
  #config: ClusterConfig;
  #service: ServiceBreaker | undefined;
  #guard: Layer | undefined;
  #control: BreakerControl | undefined;

  constructor(config: ClusterConfig, options: ClusterBreakersOptions) {
    this.#options = options;
    this.#config = config;
    if (config.serviceBreaker !== undefined) this.#make();
  }

  get service(): ServiceBreaker | undefined {
    return this.#service;
  }

  /** What requests to the cluster pass first; undefined: nothing. */
  get guard(): Layer | undefined {
    return this.#guard;
  }

  /** Another configuration: the breaker stays what it is as long as there is one, and an operator's override holds. */
  configure(config: ClusterConfig): void {
    this.#config = config;
    if (config.serviceBreaker !== undefined) this.#make();
    this.#service?.configure(config.serviceBreaker, config.source);
    if (config.serviceBreaker !== undefined || this.#control?.isAtWork === true) return;
    this.#service = undefined;
    this.#guard = undefined;
  }

  drive(command: BreakerCommand): BreakerAnswer {
    const { clock, wheel, endpoints, ejections, hooks } = this.#options;
    this.#control ??= new BreakerControl({
      ...{ clock, wheel, endpoints, ejections },
      cluster: this.#config.name,
      serviceBreaker: () => this.#make(),
      onOverride: hooks.onOverride,
    });
    return this.#control.drive(command);
  }

  /** Milliseconds that an endpoint stays isolated; undefined: it is not. */
  isolatedForMs(key: string): number | undefined {
    return this.#control?.isolatedForMs(key);
  }

  isHeld(key: string): boolean {
    return this.#control?.isHeld(key) ?? false;
  }

  close(): void {
    this.#control?.close();
  }

  #make(): ServiceBreaker {
    if (this.#service !== undefined) return this.#service;
    const { name, serviceBreaker: config, source } = this.#config;
    const { clock, hooks } = this.#options;
    const onEvent = hooks.onService;
    this.#service = new ServiceBreaker(config, source, { service: name, clock, ...hooks.meters(), onEvent });
    this.#guard = serviceBreaker(this.#service, clock);
    return this.#service;
  }
}
