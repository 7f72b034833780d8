import type { ServiceBreakerConfig } from "../config/service-breaker-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import { formatDuration } from "../time/duration.js";
import {
  closedServiceBreaker,
  nextServiceBreakerState,
  openReason,
  rampShare,
  type OpenReason,
  type ServiceBreakerInput,
  type ServiceBreakerState,
  type Verdicts,
} from "./service-breaker-state.js";
import { SlidingCount } from "./sliding-count.js";

export type ServiceBreakerPhase = ServiceBreakerState["state"];

/** A change of state, for metrics and the log. */
export interface ServiceBreakerEvent {
  readonly from: ServiceBreakerPhase;
  readonly to: ServiceBreakerPhase;
  readonly reason: OpenReason | "open-time-over" | "probes-succeeded" | "operator";
  /** The figures behind it, in words; "" where there are none. */
  readonly detail: string;
  /** How long it stays open, milliseconds; 0 for the other states. */
  readonly forMs: number;
  /** The document that it comes from. */
  readonly source: string;
}

export interface ServiceBreakerOptions {
  /** `<service>.<namespace>`, for error texts. */
  readonly service: string;
  readonly clock: Clock;
  readonly rejected: Counter;
  readonly slowCalls: Counter;
  /** Called synchronously, after the change. */
  readonly onEvent: (event: ServiceBreakerEvent) => void;
}

/** What an operator holds it at, and until when (monotonic milliseconds). */
export interface Hold {
  readonly state: "open" | "closed";
  readonly sinceMs: number;
  readonly untilMs: number;
}

/** passed: an ordinary request. probe: its verdict decides, and must be told by `record` or `drop`. */
export type Admission = "passed" | "probe" | "refused";

/** The present of a service breaker, for the admin API. */
export interface ServiceBreakerDescription extends Verdicts {
  readonly state: ServiceBreakerPhase;
  readonly reason: OpenReason | "operator" | undefined;
  /** How long it has been in its state, milliseconds. */
  readonly sinceMs: number;
  /** Until it changes by itself, milliseconds; 0 = it does not, or with the next request. */
  readonly remainingMs: number;
  readonly openings: number;
  /** Share of the requests let through, 0..1. */
  readonly share: number;
}

const buckets = 10;

/**
 * Keeps requests from a service that fails as a whole, so that callers have an answer at once and the service has rest.
 * Without configuration it does only what an operator tells it.
 */
export class ServiceBreaker {
  readonly #options: ServiceBreakerOptions;
  #config: ServiceBreakerConfig | undefined;
  #source: string;
  #state: ServiceBreakerState;
  #hold: Hold | undefined;
  #requests = new SlidingCount(1000, buckets);
  #failures = new SlidingCount(1000, buckets);
  #slow = new SlidingCount(1000, buckets);
  /** Tells the probes of one half-open state from those of the one before. */
  #round = 0;
  /** Probes under way, of all rounds. */
  #probes = 0;
  /** On the ramp: what is due to be let through. */
  #credit = 0;
  #refusal = new ProxyError("circuit_open", "");

  constructor(config: ServiceBreakerConfig | undefined, source: string, options: ServiceBreakerOptions) {
    this.#options = options;
    this.#source = source;
    this.#state = closedServiceBreaker(options.clock.monotonicMs());
    this.configure(config, source);
  }

  /** Names the half-open state that probes belong to. */
  get round(): number {
    return this.#round;
  }

  /**
   * Another configuration for the same service: its state stays, unless there is none any more; the window begins anew if
   * its length changed. @param source the document that says so.
   */
  configure(config: ServiceBreakerConfig | undefined, source: string): void {
    const windowMs = config?.windowMs;
    if (windowMs !== undefined && windowMs !== this.#config?.windowMs) {
      this.#requests = new SlidingCount(windowMs / buckets, buckets);
      this.#failures = new SlidingCount(windowMs / buckets, buckets);
      this.#slow = new SlidingCount(windowMs / buckets, buckets);
    }
    if (config === undefined && this.#config !== undefined)
      this.#apply({ type: "close", nowMs: this.#options.clock.monotonicMs(), isRamped: false });
    this.#config = config;
    this.#source = source;
  }

  /** Before each request. */
  admit(nowMs: number): Admission {
    const admission = this.#admission(nowMs);
    if (admission === "refused") this.#options.rejected.value++;
    return admission;
  }

  #admission(nowMs: number): Admission {
    if (this.#hold !== undefined) return this.#hold.state === "open" ? "refused" : "passed";
    const config = this.#config;
    if (config === undefined) return "passed";
    if (this.#state.state === "open") this.#apply({ type: "look", nowMs });
    const state = this.#state;
    if (state.state === "open") return "refused";
    if (state.state === "half-open") {
      if (this.#probes + state.verdicts.requests >= config.halfOpenRequests) return "refused";
      this.#probes++;
      return "probe";
    }
    if (state.rampFromMs === -Infinity) return "passed";
    return this.#isDue(rampShare(state, config, nowMs)) ? "passed" : "refused";
  }

  /** Spreads what is let through evenly, instead of drawing lots. */
  #isDue(share: number): boolean {
    this.#credit += share;
    // Ten tenths add up to a little less than one.
    if (this.#credit < 1 - 1e-9) return false;
    this.#credit -= 1;
    return true;
  }

  /**
   * The verdict on a request. @param round of the probe; 0 for any other request.
   *
   * @param latencyMs until its response head, or until it ended without one.
   */
  record(isFailure: boolean, latencyMs: number, round: number, nowMs: number): void {
    const isSlow = this.#isSlow(latencyMs);
    if (isSlow) this.#options.slowCalls.value++;
    if (round > 0) {
      this.#probes--;
      const chance = this.#options.clock.random();
      // An operator, or the others of its round, may have been quicker.
      if (round === this.#round) this.#apply({ type: "probe", isFailure, isSlow, nowMs, chance });
      return;
    }
    if (this.#state.state !== "closed") return;
    this.#requests.add(nowMs);
    if (isFailure) this.#failures.add(nowMs);
    if (isSlow) this.#slow.add(nowMs);
    if (isFailure || isSlow) this.#tripIfDue(nowMs);
  }

  /**
   * The caller gave up `latencyMs` after the request began, without a response head. It says nothing about the service,
   * unless that was long enough to be slow: of a service that hangs nothing else is ever heard.
   */
  abandon(latencyMs: number, round: number, nowMs: number): void {
    if (this.#isSlow(latencyMs)) this.record(false, latencyMs, round, nowMs);
    else if (round > 0) this.#probes--;
  }

  /** The probe ended and says nothing about the service. */
  drop(round: number): void {
    if (round > 0) this.#probes--;
  }

  /** An operator holds it open or closed, from now on until `release`. */
  hold(state: Hold["state"], untilMs: number, nowMs: number): void {
    const from = this.#phase;
    this.#close(nowMs, false);
    this.#hold = { state, sinceMs: nowMs, untilMs };
    this.#tell(from, { reason: "operator", forMs: state === "open" ? untilMs - nowMs : 0 });
  }

  /** The end of a hold. What was held open is let through little by little. */
  release(nowMs: number): void {
    if (this.#hold === undefined) return;
    const from = this.#phase;
    this.#close(nowMs, from === "open");
    this.#hold = undefined;
    this.#tell(from, { reason: "operator", forMs: 0 });
  }

  /** An operator has it begin anew: closed, with nothing counted. */
  reset(nowMs: number): void {
    const from = this.#phase;
    this.#hold = undefined;
    this.#close(nowMs, false);
    this.#tell(from, { reason: "operator", forMs: 0 });
  }

  /** What a refused request is told. One error for many: a stack trace for each would add to the load. */
  refusal(nowMs: number): ProxyError {
    const detail = this.#refusalText(nowMs);
    if (this.#refusal.detail !== detail) this.#refusal = new ProxyError("circuit_open", detail);
    return this.#refusal;
  }

  /** An opening that is over is seen as such also where nobody sends a request. */
  look(nowMs: number): void {
    if (this.#hold === undefined && this.#state.state === "open") this.#apply({ type: "look", nowMs });
  }

  describe(): ServiceBreakerDescription {
    const nowMs = this.#options.clock.monotonicMs();
    this.look(nowMs);
    const state = this.#state;
    const hold = this.#hold;
    const verdicts = state.state === "closed" ? this.#window(nowMs) : state.verdicts;
    const common = { ...verdicts, openings: state.openings };
    if (hold !== undefined)
      return {
        ...common,
        state: hold.state,
        reason: "operator",
        sinceMs: nowMs - hold.sinceMs,
        remainingMs: Math.max(0, hold.untilMs - nowMs),
        share: hold.state === "open" ? 0 : 1,
      };
    const share = this.#config === undefined ? 1 : rampShare(state, this.#config, nowMs);
    return {
      ...common,
      state: state.state,
      reason: state.state === "open" ? state.reason : undefined,
      sinceMs: nowMs - state.sinceMs,
      remainingMs: Math.max(0, this.#changesAtMs(state) - nowMs),
      share,
    };
  }

  get #phase(): ServiceBreakerPhase {
    return this.#hold?.state ?? this.#state.state;
  }

  #changesAtMs(state: ServiceBreakerState): number {
    if (state.state === "open") return state.untilMs;
    return state.state === "closed" ? state.rampFromMs + (this.#config?.rampMs ?? 0) : 0;
  }

  #isSlow(latencyMs: number): boolean {
    const thresholdMs = this.#config?.slowCalls?.thresholdMs;
    return thresholdMs !== undefined && latencyMs >= thresholdMs;
  }

  #tripIfDue(nowMs: number): void {
    if (this.#config === undefined || this.#hold !== undefined) return;
    const verdicts = this.#window(nowMs);
    const reason = openReason(this.#config, verdicts);
    if (reason === undefined) return;
    this.#apply({ type: "trip", reason, verdicts, nowMs, chance: this.#options.clock.random() });
  }

  #window(nowMs: number): Verdicts {
    return {
      requests: this.#requests.total(nowMs),
      failures: this.#failures.total(nowMs),
      slow: this.#slow.total(nowMs),
    };
  }

  #apply(input: ServiceBreakerInput): void {
    if (this.#config === undefined) return;
    const before = this.#state;
    const after = nextServiceBreakerState(before, input, this.#config);
    this.#state = after;
    if (after.state === before.state) return;
    if (after.state === "half-open") this.#round++;
    if (after.state === "closed") this.#forget();
    if (after.state === "open") {
      const forMs = after.untilMs - after.sinceMs;
      return this.#tell(before.state, { reason: after.reason, forMs });
    }
    const isProven = after.state === "closed" && input.type === "probe";
    const reason = isProven ? "probes-succeeded" : input.type === "close" ? "operator" : "open-time-over";
    this.#tell(before.state, { reason, forMs: 0 });
  }

  /** Without an event of its own. */
  #close(nowMs: number, isRamped: boolean): void {
    this.#state = closedServiceBreaker(nowMs, isRamped);
    // Probes that are still under way belong to no round now.
    this.#round++;
    this.#forget();
  }

  #forget(): void {
    this.#requests.reset();
    this.#failures.reset();
    this.#slow.reset();
    this.#credit = 0;
  }

  #tell(from: ServiceBreakerPhase, event: Pick<ServiceBreakerEvent, "reason" | "forMs">): void {
    const to = this.#phase;
    const detail = this.#hold === undefined ? this.#figures() : "";
    if (to !== from) this.#options.onEvent({ from, to, detail, source: this.#source, ...event });
  }

  /** What the breaker was opened by, in words. */
  #figures(): string {
    const state = this.#state;
    if (state.state !== "open" || this.#config === undefined) return "";
    const { requests, failures, slow } = state.verdicts;
    const { slowCalls, windowMs, failureRatio } = this.#config;
    const within = `within ${formatDuration(windowMs)}`;
    const slowness = slowCalls === undefined ? "" : `took ${formatDuration(slowCalls.thresholdMs)} or longer`;
    switch (state.reason) {
      case "failure-ratio":
        return `${failures} of ${requests} requests failed ${within}, failureRatio=${failureRatio}`;
      case "slow-calls":
        return `${slow} of ${requests} requests ${slowness} ${within}, slowCalls.ratio=${slowCalls?.ratio}`;
      case "probes-failed":
        return `${failures} of ${requests} probes failed`;
      case "probes-slow":
        return `${slow} of ${requests} probes ${slowness}`;
    }
  }

  #refusalText(nowMs: number): string {
    const who = `service ${this.#options.service}`;
    const hold = this.#hold;
    if (hold !== undefined)
      return `${who}: held open by an operator for another ${inTime(hold.untilMs - nowMs)}`;
    const state = this.#state;
    const source = `source=${this.#source}`;
    if (state.state === "open")
      return `${who}: ${this.#figures()}; next probe in ${inTime(state.untilMs - nowMs)}, ${source}`;
    if (state.state === "half-open")
      return `${who}: half-open, ${this.#probes} probes under way decide whether it closes, ${source}`;
    const percent =
      this.#config === undefined ? 100 : Math.floor(rampShare(state, this.#config, nowMs) * 100);
    return `${who}: closed again, ${percent} % of the requests are let through, all of them in ${inTime(this.#changesAtMs(state) - nowMs)}, ${source}`;
  }
}

/** In tenths of a second: a text that changed with each request would be made for each. */
function inTime(ms: number): string {
  return `${(Math.ceil(Math.max(0, ms) / 100) / 10).toFixed(1)}s`;
}
