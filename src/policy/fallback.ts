import type { FallbackCause, FallbackReply } from "../config/fallback-config.js";
import { errorTable } from "../errors/error-table.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { setHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { failureOfError, failureOfHead, mayBeSentElsewhere, type Failure } from "./fallback-cause.js";
import { fixedReply } from "./fixed-reply.js";
import { ReplayBody } from "./replay-body.js";
import type { KeptReply, ReplyCache } from "./reply-cache.js";

export type FallbackAnswer =
  | { readonly type: "reply"; readonly reply: FallbackReply }
  /** `maxReplayBytes` of a request body are kept to be sent there. */
  | { readonly type: "service"; readonly service: Service; readonly maxReplayBytes: number }
  /** Answers of one scope are never given in another. */
  | { readonly type: "stale"; readonly cache: ReplyCache; readonly scope: string };

export interface FallbackOptions {
  readonly on: ReadonlySet<FallbackCause>;
  readonly answer: FallbackAnswer;
  readonly clock: Clock;
  readonly meters: FallbackMeters;
}

export interface FallbackMeters {
  /** Failures that were answered, by their cause. */
  readonly answered: Readonly<Record<FallbackCause, Counter>>;
  /** Failures that were not: nothing kept, or a request that must not be sent elsewhere. */
  readonly missed: Counter;
}

/**
 * Answers in place of a failure, as long as nothing of a response has gone downstream. Stands outside of retries and time
 * limits, so that it sees how the request ended for good. Tunnels have none: what they are for cannot be answered by another.
 */
export function fallback(options: FallbackOptions): Layer {
  return (inner) => ({
    call(request, reply) {
      if (request.head.upgrade !== "") return inner.call(request, reply);
      return new FallbackCall(options, request, reply).start(inner);
    },
  });
}

/** Ends a call whose response is not wanted. Says nothing about the endpoint, as if the client had gone. */
const discarded = new ProxyError("client_gone", "response discarded: a fallback answers");

/**
 * trying: no head yet · committed: the head went downstream · discarding: the call is being cancelled, and the fallback follows
 * its end · answering: the fallback has the word · cancelled: the caller gave up, the end of the call is awaited
 */
type Phase = "trying" | "committed" | "discarding" | "answering" | "cancelled" | "ended";

class FallbackCall implements Call, Reply {
  readonly #options: FallbackOptions;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  /** The request as it came, for another service; null when it goes nowhere else. */
  readonly #pristine: RequestContext | null;
  readonly #replay: ReplayBody | null = null;
  #phase: Phase = "trying";
  /** The call that has the word: the inner one, then the other service's; null while its call has not returned yet. */
  #call: Call | null = null;
  #reason: ProxyError = discarded;
  #failure: Failure | null = null;
  #kept: KeptReply | undefined;

  constructor(options: FallbackOptions, request: RequestContext, reply: Reply) {
    this.#options = options;
    this.#request = request;
    this.#reply = reply;
    const { answer } = options;
    // Before anything inside changes the head.
    this.#pristine = answer.type === "service" ? request.fork(null) : null;
    if (answer.type === "service" && request.body !== null) {
      this.#replay = new ReplayBody(request.body, answer.maxReplayBytes);
      request.body = this.#replay.nextAttempt();
    }
  }

  start(inner: Service): this {
    const call = inner.call(this.#request, this);
    // The fallback may have begun by now, with a call of its own.
    if (this.#phase === "answering") return this;
    this.#call = call;
    if (this.#phase === "discarding" || this.#phase === "cancelled") call.cancel(this.#reason);
    return this;
  }

  cancel(error: ProxyError): void {
    switch (this.#phase) {
      case "trying":
      case "committed":
        this.#phase = "cancelled";
        this.#reason = error;
        this.#call?.cancel(error);
        return;
      case "discarding":
        this.#phase = "cancelled";
        this.#reason = error;
        return;
      case "answering":
        this.#reason = error;
        this.#call?.cancel(error);
        return;
      case "cancelled":
      case "ended":
        return;
    }
  }

  informational(head: ResponseHead): void {
    if (this.#phase === "trying") this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    if (this.#phase !== "trying") return;
    const { isGrpc, upstream } = this.#request;
    if (this.#takesOver(failureOfHead(head, isGrpc, upstream?.config.meshed === true))) {
      this.#phase = "discarding";
      this.#call?.cancel(discarded);
      return;
    }
    this.#phase = "committed";
    this.#replay?.release();
    this.#reply.head(head, this.#recorded(head, body));
  }

  end(error: ProxyError | null): void {
    switch (this.#phase) {
      case "trying":
        if (error !== null && this.#takesOver(failureOfError(error.code))) return this.#answer();
        return this.#finish(error);
      case "discarding":
        return this.#answer();
      case "cancelled":
        return this.#finish(this.#reason);
      case "committed":
        return this.#finish(error);
      case "answering":
      case "ended":
        return;
    }
  }

  /** The answer of the other service. */
  answeredBy(copy: RequestContext, head: ResponseHead, body: BodySource | null): void {
    this.#request.adopt(copy);
    this.#send(head, body);
  }

  /** The other service's answer is complete, or there is none. */
  answerEnded(copy: RequestContext, error: ProxyError | null): void {
    this.#request.adopt(copy);
    this.#finish(error);
  }

  /** Whether the fallback has an answer to this failure. */
  #takesOver(failure: Failure | undefined): boolean {
    const { on, meters } = this.#options;
    if (failure === undefined || !on.has(failure.cause)) return false;
    this.#failure = failure;
    if (this.#canAnswer(failure)) return true;
    meters.missed.value++;
    return false;
  }

  #canAnswer(failure: Failure): boolean {
    const { answer, clock } = this.#options;
    const { head, isGrpc, attempts, attempt } = this.#request;
    switch (answer.type) {
      case "reply":
        return (isGrpc ? answer.reply.grpc : answer.reply.http) !== undefined;
      case "service": {
        const canReplay = this.#replay?.canReplay ?? true;
        const wasSeen = attempt > (this.#pristine as RequestContext).attempt;
        return canReplay && mayBeSentElsewhere(failure, head.method, attempts, wasSeen);
      }
      case "stale":
        this.#kept = answer.cache.find(answer.scope, this.#request, clock.monotonicMs());
        return this.#kept !== undefined;
    }
  }

  #answer(): void {
    this.#phase = "answering";
    this.#call = null;
    const { answer, clock, meters } = this.#options;
    const { cause, what, code } = this.#failure as Failure;
    const request = this.#request;
    meters.answered[cause].value++;
    request.details = `fallback_${answer.type}{${what}}`;
    const flag = code === undefined ? "-" : errorTable[code].flag;
    if (flag !== "-") request.flag = request.flag === "" ? flag : `${flag},${request.flag}`;
    if (answer.type === "service") {
      const copy = (this.#pristine as RequestContext).fork(
        this.#replay?.nextAttempt() ?? null,
        clock.monotonicMs(),
      );
      copy.flag = request.flag;
      const call = answer.service.call(copy, new OtherReply(this, copy));
      this.#replay?.release();
      this.#call = call;
      if (this.#reason !== discarded) call.cancel(this.#reason);
      return;
    }
    const { head, body } =
      answer.type === "reply" ? fixedReply(answer.reply, request.isGrpc) : (this.#kept as KeptReply);
    this.#send(head, body);
    this.#finish(null);
  }

  /** Marked, so that nobody takes it for the service's own answer; the error that it stands for is named beside. */
  #send(head: ResponseHead, body: BodySource | null): void {
    const { code } = this.#failure as Failure;
    head.headers.push("x-remora-fallback", this.#options.answer.type);
    if (code !== undefined) setHeader(head.headers, "x-remora-error", code);
    this.#reply.head(head, body);
  }

  #recorded(head: ResponseHead, body: BodySource | null): BodySource | null {
    const { answer, clock } = this.#options;
    if (answer.type !== "stale" || this.#request.isGrpc) return body;
    return answer.cache.record(answer.scope, this.#request.head, head, body, () => clock.monotonicMs());
  }

  #finish(error: ProxyError | null): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.#replay?.release();
    this.#reply.end(error);
  }
}

/** What the service that answers instead says. */
class OtherReply implements Reply {
  readonly #call: FallbackCall;
  readonly #copy: RequestContext;

  constructor(call: FallbackCall, copy: RequestContext) {
    this.#call = call;
    this.#copy = copy;
  }

  informational(): void {}

  head(head: ResponseHead, body: BodySource | null): void {
    this.#call.answeredBy(this.#copy, head, body);
  }

  end(error: ProxyError | null): void {
    this.#call.answerEnded(this.#copy, error);
  }
}
