import type { HedgeConfig } from "../config/hedge-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import type { RecentLatency } from "./recent-latency.js";
import type { RetryBudget } from "./retry-budget.js";

export interface HedgeOptions {
  readonly config: HedgeConfig;
  /** What further attempts may add to the load; the cluster's own. */
  readonly budget: RetryBudget;
  /** How long the cluster's requests took; written here. */
  readonly latency: RecentLatency;
  /** Endpoints of the cluster now: without a second one there is nowhere else to send to. */
  readonly endpoints: () => number;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly meters: HedgeMeters;
}

export interface HedgeMeters {
  /** Further attempts. */
  readonly attempts: Counter;
  /** Requests that a further attempt answered. */
  readonly wins: Counter;
  /** Further attempts that the budget denied. */
  readonly denied: Counter;
}

/** RFC 9110 §9.2.1: these ask for nothing to be done, so that being asked twice does no harm. */
const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Sends a request to another endpoint as well when the answer takes too long; the first head wins, and the other attempts are
 * cancelled. Only safe methods without a body. Outside of retry: each attempt has its own retries.
 * Source: Dean and Barroso, "The Tail at Scale", CACM 2013, hedged requests.
 */
export function hedge(options: HedgeOptions): Layer {
  return (inner) => ({
    call(request, reply) {
      const { head, body, isGrpc } = request;
      if (body !== null || head.upgrade !== "" || isGrpc || !safe.has(head.method))
        return inner.call(request, reply);
      const nowMs = options.clock.monotonicMs();
      options.budget.addRequest(nowMs);
      const call = new HedgedCall(options, inner, request, reply, nowMs);
      call.begin(delayOf(options, nowMs));
      return call;
    },
  });
}

/** undefined: no further attempt, since too little is known of the cluster. */
function delayOf({ config: { after }, latency }: HedgeOptions, nowMs: number): number | undefined {
  if (after.type === "delay") return after.delayMs;
  const expectedMs = latency.percentile(after.percentile, nowMs);
  return expectedMs === undefined ? undefined : Math.max(after.minDelayMs, expectedMs);
}

/** Ends an attempt that is no longer wanted. Says nothing about its endpoint, as if the client had gone. */
const discarded = new ProxyError("client_gone", "another attempt has answered");

class HedgedCall implements Call, TimerTarget {
  readonly #options: HedgeOptions;
  readonly #inner: Service;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #startMs: number;
  /** The first has the request itself, the others copies. */
  readonly #legs: Leg[] = [];
  /** Legs that may still give the answer. */
  #racing = 0;
  /** Legs that have not ended. */
  #open = 0;
  #delayMs = 0;
  #timer: WheelTimer | null = null;
  #winner: Leg | null = null;
  #cancelledWith: ProxyError | null = null;
  #isEnded = false;

  constructor(options: HedgeOptions, inner: Service, request: RequestContext, reply: Reply, nowMs: number) {
    this.#options = options;
    this.#inner = inner;
    this.#request = request;
    this.#reply = reply;
    this.#startMs = nowMs;
  }

  begin(delayMs: number | undefined): void {
    if (delayMs !== undefined) {
      this.#delayMs = delayMs;
      this.#timer = this.#options.wheel.add(delayMs, this);
    }
    this.#send(this.#request);
  }

  onTimer(): void {
    if (this.#winner !== null || this.#isEnded || this.#cancelledWith !== null) return;
    const { config, budget, endpoints, clock, meters } = this.#options;
    if (endpoints() < 2) return;
    if (!budget.tryRetry(clock.monotonicMs())) {
      meters.denied.value++;
      return;
    }
    meters.attempts.value++;
    // Before the attempt, which may be over when it returns.
    if (this.#legs.length < config.maxAttempts) this.#timer?.restart(this.#delayMs);
    this.#send(this.#copy());
  }

  cancel(error: ProxyError): void {
    if (this.#isEnded || this.#cancelledWith !== null) return;
    this.#cancelledWith = error;
    this.#timer?.cancel();
    for (const leg of this.#legs) leg.cancel(error);
  }

  informational(head: ResponseHead): void {
    // Once two answers are under way, nobody knows whose hint it is.
    if (this.#legs.length === 1 && this.#isOpen()) this.#reply.informational(head);
  }

  head(leg: Leg, head: ResponseHead, body: BodySource | null): void {
    if (!this.#isOpen() || leg.isOut) return;
    if (head.status >= 500 && this.#racing > 1) {
      // Another attempt may do better.
      this.#racing--;
      leg.drop(discarded);
      return;
    }
    this.#winner = leg;
    this.#timer?.cancel();
    const nowMs = this.#options.clock.monotonicMs();
    for (const other of this.#legs) if (other !== leg) other.cancel(discarded);
    // The first attempt's time, or less than it would have been when another was faster.
    this.#options.latency.add(nowMs - this.#startMs, nowMs);
    if (leg !== this.#legs[0]) this.#options.meters.wins.value++;
    this.#adopt(leg);
    this.#reply.head(head, body);
  }

  end(leg: Leg, error: ProxyError | null): void {
    this.#open--;
    if (this.#isEnded) return;
    if (this.#winner !== null) {
      if (leg === this.#winner) this.#finish(error);
      return;
    }
    if (this.#cancelledWith !== null) {
      if (this.#open === 0) this.#finish(this.#cancelledWith);
      return;
    }
    if (leg.isOut) return;
    this.#racing--;
    // The others go on; the last one's failure is the request's.
    if (this.#racing > 0) return;
    this.#adopt(leg);
    this.#finish(error);
  }

  /** Nobody has answered, and the caller still waits. */
  #isOpen(): boolean {
    return this.#winner === null && this.#cancelledWith === null && !this.#isEnded;
  }

  #send(request: RequestContext): void {
    const leg = new Leg(this, request);
    this.#legs.push(leg);
    this.#racing++;
    this.#open++;
    leg.began(this.#inner.call(request, leg));
  }

  /** Knows of all endpoints that were tried, so that another one is picked. */
  #copy(): RequestContext {
    const copy = this.#request.fork(null);
    for (const { request } of this.#legs.slice(1))
      for (const upstream of request.tried) if (!copy.tried.includes(upstream)) copy.attemptAt(upstream);
    return copy;
  }

  #adopt(leg: Leg): void {
    if (leg.request !== this.#request) this.#request.adopt(leg.request);
  }

  #finish(error: ProxyError | null): void {
    this.#isEnded = true;
    this.#timer?.cancel();
    this.#reply.end(error);
  }
}

/** One attempt of several. */
class Leg implements Reply {
  readonly request: RequestContext;
  readonly #parent: HedgedCall;
  /** null while its call has not returned yet. */
  #call: Call | null = null;
  #reason: ProxyError | null = null;
  /** Its answer does not count any more. */
  isOut = false;

  constructor(parent: HedgedCall, request: RequestContext) {
    this.#parent = parent;
    this.request = request;
  }

  began(call: Call): void {
    this.#call = call;
    if (this.#reason !== null) call.cancel(this.#reason);
  }

  drop(reason: ProxyError): void {
    this.isOut = true;
    this.cancel(reason);
  }

  cancel(reason: ProxyError): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.#call?.cancel(reason);
  }

  informational(head: ResponseHead): void {
    this.#parent.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#parent.head(this, head, body);
  }

  end(error: ProxyError | null): void {
    this.#parent.end(this, error);
  }
}
