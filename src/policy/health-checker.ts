import type { HealthCheckConfig } from "../config/health-check-config.js";
import type { EndpointConfig } from "../config/snapshot.js";
import type { EndpointTransport } from "../stack/endpoint.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { CheckSlots, SlotUser } from "./check-slots.js";
import type { HealthGate } from "./health-gate.js";
import { HealthProbe } from "./health-probe.js";
import { freshHealth, nextHealth, type HealthState } from "./health-state.js";

/** An endpoint as its checks see it; policy/cluster-endpoint.ts is one. */
export interface CheckedEndpoint {
  readonly config: EndpointConfig;
  readonly transport: EndpointTransport;
  readonly health: HealthGate;
}

export interface HealthMeters {
  readonly attempts: Counter;
  readonly successes: Counter;
  readonly failures: Counter;
}

export interface HealthCheckerOptions<E extends CheckedEndpoint> {
  readonly checks: readonly HealthCheckConfig[];
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** Shared by all clusters of the process. */
  readonly slots: CheckSlots;
  readonly meters: HealthMeters;
  /** The endpoint became healthy, or unhealthy for this reason. */
  readonly onChange: (endpoint: E, isHealthy: boolean, reason: string) => void;
}

/** A fifth to both sides: sidecars that started together do not ask together for ever. */
const jitterRatio = 0.2;
/** New endpoints are asked soon, though not all at one moment. */
const firstWithinMs = 1000;

/** Checks the endpoints of one cluster for as long as they are in it. Requests and breakers know nothing of its requests. */
export class HealthChecker<E extends CheckedEndpoint> {
  readonly #options: HealthCheckerOptions<E>;
  readonly #checked = new Map<E, CheckedOne<E>>();

  constructor(options: HealthCheckerOptions<E>) {
    this.#options = options;
  }

  /** Begins with those that are new, and leaves those that are gone alone. */
  sync(endpoints: readonly E[]): void {
    const leaving = new Set(this.#checked.keys());
    for (const endpoint of endpoints) {
      if (leaving.delete(endpoint) || this.#checked.has(endpoint)) continue;
      this.#checked.set(endpoint, new CheckedOne(endpoint, this.#options));
    }
    for (const endpoint of leaving) {
      this.#checked.get(endpoint)?.close();
      this.#checked.delete(endpoint);
    }
  }

  /** Ends every check; the endpoints stay what they were found to be. */
  close(): void {
    for (const one of this.#checked.values()) one.close();
    this.#checked.clear();
  }
}

/** All checks of one endpoint: it is healthy when each of them says so. */
class CheckedOne<E extends CheckedEndpoint> {
  readonly #endpoint: E;
  readonly #options: HealthCheckerOptions<E>;
  readonly #checks: readonly EndpointCheck[];

  constructor(endpoint: E, options: HealthCheckerOptions<E>) {
    this.#endpoint = endpoint;
    this.#options = options;
    // What was found out under another configuration holds until there are new results.
    const wasHealthy = endpoint.health.isHealthy;
    this.#checks = options.checks.map(
      (config) => new EndpointCheck(config, options, endpoint, wasHealthy, (reason) => this.#settle(reason)),
    );
    const waits = this.#checks.some(({ isHealthy }) => !isHealthy);
    if (waits && wasHealthy) endpoint.health.set(false, "not checked yet");
  }

  close(): void {
    for (const check of this.#checks) check.close();
  }

  #settle(reason: string): void {
    const { health } = this.#endpoint;
    const isHealthy = this.#checks.every((check) => check.isHealthy);
    if (health.set(isHealthy, reason || health.reason))
      this.#options.onChange(this.#endpoint, isHealthy, reason);
  }
}

/** One check of one endpoint, over and over. */
class EndpointCheck implements TimerTarget, SlotUser {
  readonly #config: HealthCheckConfig;
  readonly #options: Omit<HealthCheckerOptions<CheckedEndpoint>, "onChange">;
  readonly #endpoint: CheckedEndpoint;
  readonly #onResult: (failure: string) => void;
  readonly #timer: WheelTimer;
  #state: HealthState;
  /** undefined: none is under way. */
  #probe: HealthProbe | undefined;
  #isClosed = false;

  constructor(
    config: HealthCheckConfig,
    options: Omit<HealthCheckerOptions<CheckedEndpoint>, "onChange">,
    endpoint: CheckedEndpoint,
    wasHealthy: boolean,
    onResult: (failure: string) => void,
  ) {
    this.#config = config;
    this.#options = options;
    this.#endpoint = endpoint;
    this.#onResult = onResult;
    this.#state = wasHealthy ? freshHealth(config) : { isHealthy: false, isJudged: false, contrary: 0 };
    const { wheel, clock } = options;
    this.#timer = wheel.add(clock.random() * Math.min(config.intervalMs, firstWithinMs), this);
  }

  get isHealthy(): boolean {
    return this.#state.isHealthy;
  }

  onTimer(): void {
    this.#options.slots.take(this);
  }

  onSlot(): void {
    if (this.#isClosed) return this.#options.slots.release();
    const { clock, wheel, meters } = this.#options;
    const { probe, timeoutMs } = this.#config;
    const { transport } = this.#endpoint;
    meters.attempts.value++;
    const onVerdict = (failure: string | undefined): void => this.#take(failure);
    this.#probe = new HealthProbe({
      probe,
      timeoutMs,
      transport,
      wheel,
      nowMs: clock.monotonicMs(),
      onVerdict,
    });
    this.#probe.start();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer.cancel();
    this.#options.slots.leave(this);
    const probe = this.#probe;
    this.#probe = undefined;
    if (probe === undefined) return;
    probe.abandon();
    this.#options.slots.release();
  }

  #take(failure: string | undefined): void {
    const { meters, slots, clock } = this.#options;
    this.#probe = undefined;
    slots.release();
    if (this.#isClosed) return;
    if (failure !== undefined) {
      (failure === "" ? meters.successes : meters.failures).value++;
      this.#state = nextHealth(this.#state, failure === "", this.#config);
    }
    const { intervalMs, unhealthyIntervalMs } = this.#config;
    const periodMs = this.#state.isHealthy ? intervalMs : unhealthyIntervalMs;
    this.#timer.restart(periodMs * (1 + jitterRatio * (2 * clock.random() - 1)));
    if (failure !== undefined) this.#onResult(failure);
  }
}
