import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { WatchedGrpcBody, type GrpcResponseListener } from "../traffic/grpc-response.js";
import { isGrpcServerFault } from "../traffic/grpc.js";
import type { ResponseHead } from "../traffic/message.js";
import type { ServiceBreaker } from "./service-breaker.js";
import { wasShed } from "./shed-answer.js";
import { speaksAgainstService } from "./upstream-faults.js";

const grpcUnavailable = 14;

/**
 * Outside of retry: a request with all its attempts is one call of the service. While the breaker is open it ends with
 * `circuit_open` at once. Status >= 500, failures of the upstream and timeouts count as failures; a gRPC call is judged by
 * its own status.
 */
export function serviceBreaker(breaker: ServiceBreaker, clock: Clock): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      const nowMs = clock.monotonicMs();
      const admission = breaker.admit(nowMs);
      if (admission === "refused") {
        reply.end(breaker.refusal(nowMs));
        return endedCall;
      }
      const round = admission === "probe" ? breaker.round : 0;
      return inner.call(request, new JudgedReply({ breaker, clock, request, reply }, nowMs, round));
    },
  });
}

interface JudgedParts {
  readonly breaker: ServiceBreaker;
  readonly clock: Clock;
  readonly request: RequestContext;
  readonly reply: Reply;
}

class JudgedReply implements Reply, GrpcResponseListener {
  readonly #parts: JudgedParts;
  readonly #startMs: number;
  /** Of the probe that this is; 0 when it is none, or has been judged. */
  #round: number;
  #hasHead = false;
  #isJudged = false;
  #hasFailed = false;
  /** Until the response head, or the end without one. */
  #latencyMs = 0;

  constructor(parts: JudgedParts, startMs: number, round: number) {
    this.#parts = parts;
    this.#startMs = startMs;
    this.#round = round;
  }

  informational(head: ResponseHead): void {
    this.#parts.reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    const { request, reply, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    this.#hasHead = true;
    this.#latencyMs = nowMs - this.#startMs;
    const mayBeShed = request.isGrpc ? request.grpcStatus === grpcUnavailable : head.status === 503;
    if (mayBeShed && wasShed(request.upstream, head.headers)) this.#drop();
    else if (!request.isGrpc || head.status !== 200) {
      this.#judge(head.status >= 500, nowMs);
    } else if (request.grpcStatus >= 0 || body === null) {
      this.#judge(isGrpcServerFault(request.grpcStatus), nowMs);
    } else if (this.#round > 0) {
      return reply.head(head, new WatchedGrpcBody(body, this));
    }
    reply.head(head, body);
  }

  grpcMessage(): void {
    // A stream may go on for hours, and others wait for the verdict: the message is proof enough.
    this.#judge(false, this.#parts.clock.monotonicMs());
  }

  grpcTrailers(): void {
    // Told at the end.
  }

  end(error: ProxyError | null): void {
    this.#settle(error);
    this.#parts.reply.end(error);
  }

  #settle(error: ProxyError | null): void {
    const { breaker, request, clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (!this.#hasHead) this.#latencyMs = nowMs - this.#startMs;
    if (error === null) {
      this.#judge(request.isGrpc && isGrpcServerFault(request.grpcStatus), nowMs);
    } else if (speaksAgainstService(error, request.head.upgrade, this.#hasHead)) {
      this.#judge(true, nowMs);
    } else if (!this.#isJudged) {
      if (this.#hasHead || error.code !== "client_gone") return this.#drop();
      this.#isJudged = true;
      breaker.abandon(this.#latencyMs, this.#round, nowMs);
    }
  }

  /** The service is well and says that it has enough: no verdict on it. Open, the breaker would turn critical requests away too. */
  #drop(): void {
    if (this.#isJudged) return;
    this.#isJudged = true;
    this.#hasFailed = true;
    this.#parts.breaker.drop(this.#round);
    this.#round = 0;
  }

  /** Once; the first failure that comes later counts as one more. Slowness is told with the first verdict only. */
  #judge(isFailure: boolean, nowMs: number): void {
    if (this.#isJudged && (!isFailure || this.#hasFailed)) return;
    this.#hasFailed ||= isFailure;
    this.#parts.breaker.record(isFailure, this.#isJudged ? 0 : this.#latencyMs, this.#round, nowMs);
    this.#isJudged = true;
    this.#round = 0;
  }
}
