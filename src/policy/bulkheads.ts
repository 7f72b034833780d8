import type { BulkheadsConfig } from "../config/bulkhead-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Counter, Gauge, Histogram } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import { formatDuration } from "../time/duration.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import { priorities, priorityClasses, type Priority } from "../traffic/priority.js";
import { BulkheadPlaces } from "./bulkhead-places.js";
import { Waiter, WaitingLine } from "./waiting-line.js";

/** Cells of one class. */
export interface BulkheadMeters {
  /** Requests under way. It is the bulkhead's own memory. */
  readonly active: Gauge;
  /** Requests that wait. */
  readonly pending: Gauge;
  /** Requests turned away because there was no place, in the queue neither. */
  readonly full: Counter;
  /** Requests that waited in vain. */
  readonly expired: Counter;
  /** Time in the queue, seconds, whatever came after it. */
  readonly waitSeconds: Histogram;
}

export interface BulkheadsOptions {
  /** Whose they are, for error texts: `cluster api.default`. */
  readonly scope: string;
  /** Requests of all classes under way, also while there are no bulkheads. */
  readonly active: Gauge;
  /** Requests turned away, of all classes. */
  readonly rejected: Counter;
  /** By class, in the order of priorityClasses. */
  readonly meters: readonly BulkheadMeters[];
  readonly wheel: TimerWheel;
  readonly clock: Clock;
}

export interface BulkheadsSettings {
  /** All classes together, >= 1. */
  readonly maxRequests: number;
  /** Empty: all share, and nobody waits. */
  readonly bulkheads: BulkheadsConfig;
  /** The document that set them, for error texts. */
  readonly source: string;
}

/** What a class is told and how it waits, made when the configuration changes. */
interface ClassRules {
  readonly maxPending: number;
  readonly maxWaitMs: number;
  /** One error for all: under overload, a stack trace for each request would add to the load. */
  readonly full: ProxyError;
  readonly expired: ProxyError;
}

/**
 * Bulkheads of one upstream: each class of requests has its places and its queue. A place that falls free goes to the most
 * important class that may take it, there to whoever waited longest and still has time. Outlives config pushes.
 */
export class Bulkheads {
  readonly #options: BulkheadsOptions;
  readonly #places: BulkheadPlaces;
  readonly #lines = priorityClasses.map(() => new WaitingLine<WaitingCall>());
  #rules: readonly ClassRules[] = [];
  #isServing = false;

  constructor(options: BulkheadsOptions, settings: BulkheadsSettings) {
    this.#options = options;
    this.#places = new BulkheadPlaces(
      options.active,
      options.meters.map(({ active }) => active),
    );
    this.configure(settings);
  }

  /** Whoever waits goes on waiting, by the rules it came under. */
  configure(settings: BulkheadsSettings): void {
    this.#places.configure(settings);
    this.#rules = priorities.map((priority) => this.#rulesOf(priority, settings));
    this.#serve();
  }

  /** Lets requests through as there are places for them. */
  readonly layer: Layer = (inner) => ({
    call: (request, reply) => this.#enter(inner, request, reply),
  });

  #enter(inner: Service, request: RequestContext, reply: Reply): Call {
    const { priority } = request;
    if (this.#places.hasRoom(priority)) {
      this.#places.take(priority);
      return inner.call(request, new PlacedReply(this, reply, priority));
    }
    const line = this.#lines[priority] as WaitingLine<WaitingCall>;
    const rules = this.#rules[priority] as ClassRules;
    if (line.length >= rules.maxPending) this.#clear(line);
    if (line.length >= rules.maxPending) {
      this.#options.rejected.value++;
      this.#metersOf(priority).full.value++;
      reply.end(rules.full);
      return endedCall;
    }
    const { wheel, clock } = this.#options;
    const waiting = new WaitingCall(this, { inner, request, reply }, clock.monotonicMs(), rules);
    line.join(waiting);
    waiting.timer = wheel.add(rules.maxWaitMs, waiting);
    this.#metersOf(priority).pending.value = line.length;
    return waiting;
  }

  /** For PlacedReply: a place is free again. */
  give(priority: Priority): void {
    this.#places.give(priority);
    this.#serve();
  }

  /** For WaitingCall: out of the queue, whatever comes now. */
  leave(waiting: WaitingCall): void {
    const { priority } = waiting;
    const line = this.#lines[priority] as WaitingLine<WaitingCall>;
    line.leave(waiting);
    const meters = this.#metersOf(priority);
    meters.pending.value = line.length;
    meters.waitSeconds.observe((this.#options.clock.monotonicMs() - waiting.sinceMs) / 1000);
  }

  /** For WaitingCall: nobody had a place for it in time. */
  expire(waiting: WaitingCall): void {
    this.#options.rejected.value++;
    this.#metersOf(waiting.priority).expired.value++;
  }

  /** Gives free places to those who wait. What ends within its own call is met by the loop, not by a call inside of a call. */
  #serve(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        if (next.hasTime(this.#options.clock.monotonicMs())) {
          this.#places.take(next.priority);
          next.start();
        } else next.giveUp();
      }
    } finally {
      this.#isServing = false;
    }
  }

  #next(): WaitingCall | undefined {
    for (const priority of priorities) {
      const first = (this.#lines[priority] as WaitingLine<WaitingCall>).first;
      if (first !== undefined && this.#places.hasRoom(priority)) return first;
    }
    return undefined;
  }

  /** Whoever has no time left goes before somebody who has is turned away: timers may be late. */
  #clear(line: WaitingLine<WaitingCall>): void {
    if (line.length === 0) return;
    const nowMs = this.#options.clock.monotonicMs();
    for (let { first } = line; first !== undefined && !first.hasTime(nowMs); { first } = line) first.giveUp();
  }

  #metersOf(priority: Priority): BulkheadMeters {
    return this.#options.meters[priority] as BulkheadMeters;
  }

  #rulesOf(priority: Priority, { bulkheads, source }: BulkheadsSettings): ClassRules {
    const { scope } = this.#options;
    const name = priorityClasses[priority];
    const { maxPending = 0, maxWaitMs = 0 } = bulkheads[name] ?? {};
    const limit = this.#places.limitOf(priority);
    const whose = bulkheads[name]?.maxRequests === undefined ? " shared" : "";
    const places = `priority=${name}, all ${limit}${whose} places taken`;
    const field = `limit=bulkheads.${name}`;
    const queue = maxPending === 0 ? "" : ` and ${maxPending} waiting`;
    return {
      maxPending: maxWaitMs === 0 ? 0 : maxPending,
      maxWaitMs,
      full: new ProxyError("concurrency_limit", `${scope}: ${places}${queue}, ${field}, source=${source}`),
      expired: new ProxyError(
        "queue_timeout",
        `${scope}: ${places} for ${formatDuration(maxWaitMs)}, ${field}.maxWait, source=${source}`,
      ),
    };
  }
}

interface Request {
  readonly inner: Service;
  readonly request: RequestContext;
  readonly reply: Reply;
}

/** waiting: in a queue · started: it got a place · ended: it left without one */
type Phase = "waiting" | "started" | "ended";

/** A request that came when there was no place for it. */
class WaitingCall extends Waiter implements Call, TimerTarget {
  readonly #bulkheads: Bulkheads;
  readonly #request: Request;
  readonly #rules: ClassRules;
  readonly priority: Priority;
  readonly sinceMs: number;
  /** Set as soon as it stands in the queue. */
  timer: WheelTimer | undefined;
  #phase: Phase = "waiting";
  /** Of the inner service; null until its call has returned. */
  #call: Call | null = null;
  #reason: ProxyError | null = null;

  constructor(bulkheads: Bulkheads, request: Request, sinceMs: number, rules: ClassRules) {
    super();
    this.#bulkheads = bulkheads;
    this.#request = request;
    this.priority = request.request.priority;
    this.sinceMs = sinceMs;
    this.#rules = rules;
  }

  /** False once it would be served in vain. */
  hasTime(nowMs: number): boolean {
    return nowMs < this.sinceMs + this.#rules.maxWaitMs && nowMs < this.#request.request.deadlineMs;
  }

  /** It has a place now. */
  start(): void {
    const { inner, request, reply } = this.#request;
    this.#leave("started");
    const call = inner.call(request, new PlacedReply(this.#bulkheads, reply, this.priority));
    this.#call = call;
    // Whoever waits for it may have cancelled it within the call.
    if (this.#reason !== null) call.cancel(this.#reason);
  }

  giveUp(): void {
    this.#leave("ended");
    this.#bulkheads.expire(this);
    this.#request.reply.end(this.#rules.expired);
  }

  onTimer(): void {
    this.giveUp();
  }

  cancel(error: ProxyError): void {
    if (this.#phase === "waiting") {
      this.#leave("ended");
      this.#request.reply.end(error);
    } else if (this.#phase === "started") {
      this.#reason ??= error;
      this.#call?.cancel(error);
    }
  }

  #leave(phase: Phase): void {
    this.#phase = phase;
    this.timer?.cancel();
    this.#bulkheads.leave(this);
  }
}

/** Of a request that has a place. */
class PlacedReply implements Reply {
  readonly #bulkheads: Bulkheads;
  readonly #reply: Reply;
  readonly #priority: Priority;

  constructor(bulkheads: Bulkheads, reply: Reply, priority: Priority) {
    this.#bulkheads = bulkheads;
    this.#reply = reply;
    this.#priority = priority;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    // Before the caller hears of it: its next request must not overtake those who wait.
    this.#bulkheads.give(this.#priority);
    this.#reply.end(error);
  }
}
