import type { BreakerConfig } from "../config/breaker-config.js";
import type { EndpointGate } from "../stack/endpoint.js";
import type { Clock } from "../time/clock.js";
import {
  closedBreaker,
  nextBreakerState,
  tripReason,
  type BreakerInput,
  type BreakerState,
  type TripReason,
} from "./breaker-state.js";
import type { EjectionBudget } from "./ejection-budget.js";
import { SlidingCount } from "./sliding-count.js";

/** A change of state, for metrics and the log. */
export interface BreakerEvent {
  readonly state: BreakerState["state"];
  /** Why it opened; undefined for the other states. */
  readonly reason: TripReason | undefined;
  /** How long it stays open, milliseconds; 0 for the other states. */
  readonly forMs: number;
}

export interface EndpointBreakerOptions {
  readonly config: BreakerConfig;
  readonly budget: EjectionBudget;
  readonly clock: Clock;
  /** Called synchronously, after the change. */
  readonly onEvent: (event: BreakerEvent) => void;
}

/** The present of a breaker, for the admin API. */
export interface BreakerDescription {
  readonly state: BreakerState["state"];
  readonly consecutiveFailures: number;
  readonly requestsInWindow: number;
  readonly failuresInWindow: number;
  /** Openings in a row. */
  readonly ejections: number;
  /** Until the next probe, milliseconds; 0 unless open. */
  readonly remainingMs: number;
}

const buckets = 10;
const success: BreakerInput = { type: "success" };
const failure: BreakerInput = { type: "failure" };
const probeSent: BreakerInput = { type: "probe-sent" };
const probeSucceeded: BreakerInput = { type: "probe-succeeded" };
const probeDropped: BreakerInput = { type: "probe-dropped" };

/**
 * Takes one endpoint out of the balancing while it fails: opens on failures in a row or on a bad success ratio, lets a
 * single probe through when the ejection has run out, and closes on the probe's success.
 * The words are the breaker's: "open" means ejected; the gate is then shut (`isOpen()` false).
 */
export class EndpointBreaker implements EndpointGate {
  readonly #options: EndpointBreakerOptions;
  #config: BreakerConfig;
  #state: BreakerState = closedBreaker;
  #requests: SlidingCount;
  #failures: SlidingCount;

  constructor(options: EndpointBreakerOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#requests = new SlidingCount(this.#config.windowMs / buckets, buckets);
    this.#failures = new SlidingCount(this.#config.windowMs / buckets, buckets);
  }

  /** Another configuration, for the same endpoint: the state stays, the window starts empty if its length changed. */
  configure(config: BreakerConfig): void {
    if (config.windowMs !== this.#config.windowMs) {
      this.#requests = new SlidingCount(config.windowMs / buckets, buckets);
      this.#failures = new SlidingCount(config.windowMs / buckets, buckets);
    }
    this.#config = config;
  }

  /** Out of the balancing: open, or half-open and not yet proven. */
  get isEjected(): boolean {
    return this.#state.state !== "closed";
  }

  isOpen(nowMs: number): boolean {
    if (this.#state.state === "closed") return true;
    if (this.#state.state === "open") this.#apply({ type: "look", nowMs });
    return this.#state.state === "half-open" && !this.#state.isProbing;
  }

  /** Before each attempt. True: this attempt is the probe, whose end must be told by `record` or `dropProbe`. */
  admit(nowMs: number): boolean {
    if (this.#state.state === "closed" || !this.isOpen(nowMs)) return false;
    this.#apply(probeSent);
    return true;
  }

  /** The verdict on an attempt. @param isProbe what `admit` said about it. */
  record(isSuccess: boolean, isProbe: boolean, nowMs: number): void {
    if (isProbe) {
      if (isSuccess) this.#apply(probeSucceeded);
      else this.#apply({ type: "probe-failed", nowMs, chance: this.#options.clock.random() });
      return;
    }
    if (this.#state.state !== "closed") return;
    this.#requests.add(nowMs);
    if (isSuccess) {
      if (this.#state.consecutiveFailures > 0) this.#apply(success);
      return;
    }
    this.#failures.add(nowMs);
    this.#apply(failure);
    this.#tripIfDue(this.#state.consecutiveFailures, nowMs);
  }

  /** The probe ended and says nothing about the endpoint. */
  dropProbe(): void {
    this.#apply(probeDropped);
  }

  describe(): BreakerDescription {
    const nowMs = this.#options.clock.monotonicMs();
    const state = this.#state;
    return {
      state: state.state,
      consecutiveFailures: state.state === "closed" ? state.consecutiveFailures : 0,
      requestsInWindow: this.#requests.total(nowMs),
      failuresInWindow: this.#failures.total(nowMs),
      ejections: state.state === "closed" ? 0 : state.ejections,
      remainingMs: state.state === "open" ? Math.max(0, state.untilMs - nowMs) : 0,
    };
  }

  #tripIfDue(consecutiveFailures: number, nowMs: number): void {
    const reason = tripReason(
      this.#config,
      consecutiveFailures,
      this.#requests.total(nowMs),
      this.#failures.total(nowMs),
    );
    // Without budget the endpoint stays; its next failure asks again.
    if (reason === undefined || !this.#options.budget.mayEject()) return;
    this.#apply({ type: "trip", reason, nowMs, chance: this.#options.clock.random() });
  }

  #apply(input: BreakerInput): void {
    const before = this.#state;
    const after = nextBreakerState(before, input, this.#config);
    this.#state = after;
    if (after.state === before.state) return;
    if (after.state === "closed") {
      this.#requests.reset();
      this.#failures.reset();
    }
    const nowMs = "nowMs" in input ? input.nowMs : 0;
    this.#options.onEvent({
      state: after.state,
      reason: after.state === "open" ? after.reason : undefined,
      forMs: after.state === "open" ? after.untilMs - nowMs : 0,
    });
  }
}
