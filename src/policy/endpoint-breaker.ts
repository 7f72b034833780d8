import type { BreakerConfig } from "../config/breaker-config.js";
import type { EndpointGate } from "../stack/endpoint.js";
import type { Clock } from "../time/clock.js";
import {
  closedBreaker,
  nextBreakerState,
  nextRuns,
  noRuns,
  tripReason,
  type AttemptVerdict,
  type BreakerInput,
  type BreakerState,
  type FailureRuns,
  type TripReason,
} from "./breaker-state.js";
import type { EjectionBudget } from "./ejection-budget.js";
import { SlidingCount } from "./sliding-count.js";
import type { SuccessRates } from "./success-rates.js";

/** A change of state, for metrics and the log. */
export interface BreakerEvent {
  readonly from: BreakerState["state"];
  readonly state: BreakerState["state"];
  /** Why it opened, or that an operator closed it; undefined where the change speaks for itself. */
  readonly reason: TripReason | "operator" | undefined;
  /** How long it stays open, milliseconds; 0 for the other states. */
  readonly forMs: number;
  /** What the window held when it changed. */
  readonly requests: number;
  readonly failures: number;
  readonly slow: number;
}

export interface EndpointBreakerOptions {
  readonly config: BreakerConfig;
  readonly budget: EjectionBudget;
  /** Of all endpoints of the cluster; asked where the configuration compares them. */
  readonly rates?: SuccessRates;
  readonly clock: Clock;
  /** The other gate of the endpoint: shut while active health checks call it unhealthy. */
  readonly health?: { readonly isHealthy: boolean };
  /** Called synchronously, after the change. */
  readonly onEvent: (event: BreakerEvent) => void;
  /** An attempt was slow, where the configuration has a measure for that. */
  readonly onSlow?: () => void;
}

/** The present of a breaker, for the admin API. */
export interface BreakerDescription {
  readonly state: BreakerState["state"];
  readonly consecutiveFailures: number;
  readonly requestsInWindow: number;
  readonly failuresInWindow: number;
  readonly slowInWindow: number;
  /** Why it is open; undefined for the other states. */
  readonly reason: TripReason | undefined;
  /** How long it has been in its state, milliseconds. */
  readonly sinceMs: number;
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
const lift: BreakerInput = { type: "lift" };

/**
 * Takes one endpoint out of the balancing while it fails: opens on failures in a row, on a success ratio that is bad or far
 * below that of the others, or on too many slow calls, lets a single probe through when the ejection has run out, and closes on
 * the probe's success.
 * The words are the breaker's: "open" means ejected; the gate is then shut (`isOpen()` false).
 */
export class EndpointBreaker implements EndpointGate {
  /** An operator holds it closed: it counts, and does not open. */
  isHeld = false;
  readonly #options: EndpointBreakerOptions;
  #config: BreakerConfig;
  #state: BreakerState = closedBreaker;
  #requests: SlidingCount;
  #failures: SlidingCount;
  /** Only where the configuration asks for it: there may be thousands of endpoints. */
  #slow: SlidingCount | undefined;
  /** While it is closed. */
  #runs: FailureRuns = noRuns;
  /** When its state began, monotonic milliseconds. */
  #sinceMs: number;

  constructor(options: EndpointBreakerOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#requests = new SlidingCount(this.#config.windowMs / buckets, buckets);
    this.#failures = new SlidingCount(this.#config.windowMs / buckets, buckets);
    this.#slow = slowCountFor(this.#config);
    this.#sinceMs = options.clock.monotonicMs();
  }

  /** Another configuration, for the same endpoint: the state stays, the window starts empty if its length changed. */
  configure(config: BreakerConfig): void {
    if (config.windowMs !== this.#config.windowMs) {
      this.#requests = new SlidingCount(config.windowMs / buckets, buckets);
      this.#failures = new SlidingCount(config.windowMs / buckets, buckets);
      this.#slow = undefined;
    }
    this.#slow = config.slowCalls === undefined ? undefined : (this.#slow ?? slowCountFor(config));
    this.#config = config;
  }

  /** Out of the balancing: open, or half-open and not yet proven. */
  get isEjected(): boolean {
    return this.#state.state !== "closed";
  }

  /** An ejection that is over is seen as such also where nobody sends a request. */
  look(nowMs: number): void {
    if (this.#state.state === "open") this.#apply({ type: "look", nowMs });
  }

  isOpen(nowMs: number): boolean {
    if (this.#options.health?.isHealthy === false) return false;
    if (this.#state.state === "closed") return true;
    this.look(nowMs);
    return this.#state.state === "half-open" && !this.#state.isProbing;
  }

  /** Before each attempt. True: this attempt is the probe, whose end must be told by `record` or `dropProbe`. */
  admit(nowMs: number): boolean {
    if (this.#state.state === "closed" || !this.isOpen(nowMs)) return false;
    this.#apply(probeSent);
    return true;
  }

  /**
   * The verdict on an attempt.
   *
   * @param isProbe what `admit` said about it. @param latencyMs until its response head, or until it ended without one.
   */
  record(verdict: AttemptVerdict, isProbe: boolean, nowMs: number, latencyMs = 0): void {
    const isSlow = this.#isSlow(latencyMs);
    if (isProbe) this.#recordProbe(verdict === "success", isSlow, nowMs);
    else if (this.#state.state === "closed") this.#recordClosed(verdict, isSlow, nowMs);
  }

  /**
   * The caller gave up `latencyMs` after the attempt began, without a response head. It says nothing about the endpoint,
   * unless that was long enough to be slow: of an endpoint that hangs nothing else is ever heard.
   */
  abandon(isProbe: boolean, nowMs: number, latencyMs: number): void {
    if (this.#isSlow(latencyMs)) this.record("success", isProbe, nowMs, latencyMs);
    else if (isProbe) this.dropProbe();
  }

  /** The probe ended and says nothing about the endpoint. */
  dropProbe(): void {
    this.#apply(probeDropped);
  }

  /** Share of successes in the window; undefined: it has had fewer than `minRequests`, or is ejected. */
  successRate(minRequests: number, nowMs: number): number | undefined {
    const requests = this.#requests.total(nowMs);
    if (this.isEjected || requests < Math.max(1, minRequests)) return undefined;
    return 1 - this.#failures.total(nowMs) / requests;
  }

  /** An operator ends the ejection; the window begins anew. */
  lift(): void {
    this.#apply(lift);
    this.#forget();
  }

  describe(): BreakerDescription {
    const nowMs = this.#options.clock.monotonicMs();
    this.look(nowMs);
    const state = this.#state;
    return {
      state: state.state,
      consecutiveFailures: state.state === "closed" ? state.consecutiveFailures : 0,
      requestsInWindow: this.#requests.total(nowMs),
      failuresInWindow: this.#failures.total(nowMs),
      slowInWindow: this.#slow?.total(nowMs) ?? 0,
      reason: state.state === "open" ? state.reason : undefined,
      sinceMs: nowMs - this.#sinceMs,
      ejections: state.state === "closed" ? 0 : state.ejections,
      remainingMs: state.state === "open" ? Math.max(0, state.untilMs - nowMs) : 0,
    };
  }

  #isSlow(latencyMs: number): boolean {
    const { slowCalls } = this.#config;
    return slowCalls !== undefined && latencyMs >= slowCalls.thresholdMs;
  }

  #recordProbe(isSuccess: boolean, isSlow: boolean, nowMs: number): void {
    if (isSlow) this.#options.onSlow?.();
    if (isSuccess && !isSlow) return this.#apply(probeSucceeded);
    const reason = isSuccess ? "probe-slow" : "probe-failed";
    this.#apply({ type: "probe-failed", reason, nowMs, chance: this.#options.clock.random() });
  }

  #recordClosed(verdict: AttemptVerdict, isSlow: boolean, nowMs: number): void {
    const isSuccess = verdict === "success";
    // Most attempts succeed, and there is nothing to count then.
    if (!isSuccess || this.#runs !== noRuns) this.#runs = nextRuns(this.#runs, verdict);
    this.#requests.add(nowMs);
    if (isSlow) {
      this.#options.onSlow?.();
      this.#slow?.add(nowMs);
    }
    if (!isSuccess) {
      this.#failures.add(nowMs);
      this.#apply(failure);
    } else if (this.#state.state === "closed" && this.#state.consecutiveFailures > 0) {
      this.#apply(success);
    }
    if (!isSuccess || isSlow) this.#tripIfDue(nowMs);
  }

  #tripIfDue(nowMs: number): void {
    if (this.isHeld || this.#state.state !== "closed") return;
    const reason =
      tripReason(
        this.#config,
        this.#state.consecutiveFailures,
        this.#requests.total(nowMs),
        this.#failures.total(nowMs),
        this.#slow?.total(nowMs) ?? 0,
        this.#runs,
      ) ?? (this.#isOutlier(nowMs) ? "outlier" : undefined);
    // Without budget the endpoint stays; its next failure asks again.
    if (reason === undefined || !this.#options.budget.mayEject()) return;
    this.#apply({ type: "trip", reason, nowMs, chance: this.#options.clock.random() });
  }

  /** Good enough by itself, but far worse than the others. */
  #isOutlier(nowMs: number): boolean {
    const { outliers, windowMs } = this.#config;
    if (outliers === undefined) return false;
    const rate = this.successRate(outliers.minRequests, nowMs);
    if (rate === undefined) return false;
    const bound = this.#options.rates?.bound(outliers, nowMs, windowMs / buckets);
    return bound !== undefined && rate < bound;
  }

  #apply(input: BreakerInput): void {
    const before = this.#state;
    const after = nextBreakerState(before, input, this.#config);
    this.#state = after;
    if (after.state === before.state) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#sinceMs = nowMs;
    const figures = {
      requests: this.#requests.total(nowMs),
      failures: this.#failures.total(nowMs),
      slow: this.#slow?.total(nowMs) ?? 0,
    };
    if (after.state === "closed") this.#forget();
    const { state } = after;
    this.#options.onEvent({
      from: before.state,
      state,
      reason: state === "open" ? after.reason : input.type === "lift" ? "operator" : undefined,
      forMs: state === "open" ? after.untilMs - ("nowMs" in input ? input.nowMs : nowMs) : 0,
      ...figures,
    });
  }

  #forget(): void {
    this.#runs = noRuns;
    this.#requests.reset();
    this.#failures.reset();
    this.#slow?.reset();
  }
}

function slowCountFor({ slowCalls, windowMs }: BreakerConfig): SlidingCount | undefined {
  return slowCalls === undefined ? undefined : new SlidingCount(windowMs / buckets, buckets);
}
