import type { LoadSheddingConfig } from "../config/load-shedding-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { grpcStatusOf } from "../traffic/grpc.js";
import type { ResponseHead } from "../traffic/message.js";
import { priorities, priorityClasses, type Priority } from "../traffic/priority.js";
import { GradientLimit } from "./gradient-limit.js";

/** Cells of one class. */
export interface SheddingMeters {
  /** Requests under way at the application. It is the shedder's own memory. */
  readonly active: Gauge;
  /** Requests turned away. */
  readonly shed: Counter;
}

export interface LoadShedderOptions {
  readonly clock: Clock;
  /** By class, in the order of priorityClasses. */
  readonly meters: readonly SheddingMeters[];
}

/** What callers without a sidecar are asked to wait; a sidecar tries another instance at once. */
const retryAfterSeconds = 1;

/**
 * Turns requests away before the application drowns: each class is let in up to a share of the limit, so that what matters
 * least goes first. The limit is fixed, or found from the latency. Outlives config pushes.
 */
export class LoadShedder {
  readonly #options: LoadShedderOptions;
  #fixedLimit = 0;
  #config: LoadSheddingConfig | undefined;
  #gradient: GradientLimit | undefined;
  #active = 0;
  /** Requests under way, all classes together, at which a class is turned away; by class. */
  #thresholds: readonly number[] = [1, 1, 1];
  /** One error for all of a class, made when its threshold has changed: a stack trace for each would add to the load. */
  readonly #errors: (ProxyError | undefined)[] = [];

  constructor(options: LoadShedderOptions) {
    this.#options = options;
  }

  /** @param maxRequests the limit, unless `config` lets it be found. */
  configure(config: LoadSheddingConfig, maxRequests: number): void {
    this.#config = config;
    this.#fixedLimit = maxRequests;
    const { adaptive } = config;
    const { clock } = this.#options;
    if (adaptive === undefined) this.#gradient = undefined;
    else if (this.#gradient !== undefined) this.#gradient.configure(adaptive);
    else this.#gradient = new GradientLimit(adaptive, clock.monotonicMs(), () => clock.random());
    this.#setThresholds();
  }

  /** Requests that may be under way at once. */
  get limit(): number {
    return this.#gradient?.limit ?? this.#fixedLimit;
  }

  /** What the latency is without a queue, milliseconds; 0 when that is not known or not asked. */
  get baselineMs(): number {
    return this.#gradient?.baselineMs ?? 0;
  }

  readonly layer: Layer = (inner) => ({
    call: (request, reply) => this.#enter(inner, request, reply),
  });

  #enter(inner: Service, request: RequestContext, reply: Reply): Call {
    const { priority } = request;
    const meters = this.#options.meters[priority] as SheddingMeters;
    if (this.#active >= (this.#thresholds[priority] as number)) {
      meters.shed.value++;
      this.#gradient?.refused();
      reply.end(this.#refusal(priority, request.isGrpc));
      return endedCall;
    }
    this.#active++;
    meters.active.value++;
    const nowMs = this.now();
    this.#gradient?.admitted(this.#active, nowMs);
    return inner.call(request, new ShelteredReply(this, { request, reply }, this.#active, nowMs));
  }

  /** For ShelteredReply: milliseconds, 0 when nobody measures. */
  now(): number {
    return this.#gradient === undefined ? 0 : this.#options.clock.monotonicMs();
  }

  /** For ShelteredReply: the application has answered, or has had this long without. */
  answered(startMs: number, activeAtStart: number, nowMs: number): void {
    if (this.#gradient?.answered(startMs, activeAtStart, nowMs) === true) this.#setThresholds();
  }

  /** For ShelteredReply: the place is free again. */
  release(priority: Priority): void {
    this.#active--;
    (this.#options.meters[priority] as SheddingMeters).active.value--;
  }

  #setThresholds(): void {
    const { defaultSharePercent = 100, batchSharePercent = 100 } = this.#config ?? {};
    const others = this.#gradient?.othersLimit ?? this.#fixedLimit;
    // Each class may have one at least: an idle application is not overloaded.
    const shareOf = (percent: number): number => Math.max(1, Math.floor((others * percent) / 100));
    this.#thresholds = [this.limit, shareOf(defaultSharePercent), shareOf(batchSharePercent)];
    this.#errors.length = 0;
  }

  #refusal(priority: Priority, isGrpc: boolean): ProxyError {
    const key = isGrpc ? priority + priorities.length : priority;
    return (this.#errors[key] ??= this.#makeRefusal(priority, isGrpc));
  }

  #makeRefusal(priority: Priority, isGrpc: boolean): ProxyError {
    const threshold = this.#thresholds[priority] as number;
    const limit = this.#gradient === undefined ? "loadShedding.maxRequests" : "adaptiveConcurrency";
    const text =
      `priority=${priorityClasses[priority]} is let in while less than ${threshold} of ${this.limit} requests are under way, ` +
      `limit=${limit}, source=${this.#config?.source ?? ""}`;
    const headers = isGrpc
      ? ["grpc-retry-pushback-ms", `${retryAfterSeconds * 1000}`]
      : ["retry-after", `${retryAfterSeconds}`];
    return new ProxyError("overloaded", text, { headers });
  }
}

interface Exchange {
  readonly request: RequestContext;
  readonly reply: Reply;
}

/** Of a request that was let in. */
class ShelteredReply implements Reply {
  readonly #shedder: LoadShedder;
  readonly #exchange: Exchange;
  readonly #activeAtStart: number;
  readonly #startMs: number;
  readonly #priority: Priority;
  #hasHead = false;
  #isReleased = false;

  constructor(shedder: LoadShedder, exchange: Exchange, activeAtStart: number, startMs: number) {
    this.#shedder = shedder;
    this.#exchange = exchange;
    this.#activeAtStart = activeAtStart;
    this.#startMs = startMs;
    this.#priority = exchange.request.priority;
  }

  informational(head: ResponseHead): void {
    this.#exchange.reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#hasHead = true;
    // An open tunnel is no work that anybody waits for.
    if (head.status === 101) this.#release();
    else if (isAnswer(head)) this.#measure();
    this.#exchange.reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#release();
    // Given up by its caller: it would have taken still longer. A failure says nothing of how long answers take.
    if (error !== null && !this.#hasHead && error.row.side !== "upstream") this.#measureAtLeast();
    this.#exchange.reply.end(error);
  }

  #measure(): void {
    this.#shedder.answered(this.#startMs, this.#activeAtStart, this.#shedder.now());
  }

  #measureAtLeast(): void {
    const nowMs = this.#shedder.now();
    if (nowMs - this.#startMs > this.#shedder.baselineMs)
      this.#shedder.answered(this.#startMs, this.#activeAtStart, nowMs);
  }

  #release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#shedder.release(this.#priority);
  }
}

/** Failures are often faster than answers: they would look like an application without a queue. */
function isAnswer(head: ResponseHead): boolean {
  return head.status < 500 && (grpcStatusOf(head.headers) ?? 0) === 0;
}
