import type { ErrorCode } from "../errors/error-table.js";
import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply } from "../stack/service.js";
import type { AccessLog } from "../telemetry/access-log.js";
import type { Counter } from "../telemetry/cells.js";
import type { ListenerMetrics } from "../telemetry/listener-metrics.js";
import type { RequestMetrics } from "../telemetry/request-metrics.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { grpcStatusOf, grpcStatusOfHttp } from "../traffic/grpc.js";
import type { ResponseHead } from "../traffic/message.js";
import { accessLogEntry } from "./access-entry.js";

export interface ObserveOptions {
  readonly clock: Clock;
  readonly listener: ListenerMetrics;
  /** Asked when a request ends, for what is known of it by then. */
  readonly requestMetrics: (request: RequestContext) => RequestMetrics;
  readonly errorCounter: (code: ErrorCode) => Counter;
  readonly accessLog: AccessLog | undefined;
  /** A request failed by a mistake of ours; its caller was told no more than that. */
  readonly onDefect: (cause: unknown) => void;
}

/** Outermost: sees what the client saw, counts it and logs it. */
export function observe(options: ObserveOptions): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      options.listener.requests.value++;
      options.listener.requestsActive.value++;
      return inner.call(request, new ObservedReply(options, request, reply));
    },
  });
}

class ObservedReply implements Reply {
  readonly #options: ObserveOptions;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  /** As the client sent them: routes may rewrite both. */
  readonly #target: string;
  readonly #authority: string;
  #head: ResponseHead | null = null;
  #headMs = -1;

  constructor(options: ObserveOptions, request: RequestContext, reply: Reply) {
    this.#options = options;
    this.#request = request;
    this.#reply = reply;
    this.#target = request.head.target;
    this.#authority = request.head.authority;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#head = head;
    if (this.#options.accessLog !== undefined) this.#headMs = this.#options.clock.monotonicMs();
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    // First: what a client may ask about a request it has the answer of must be there.
    this.#record(error);
    this.#reply.end(error);
  }

  #record(error: ProxyError | null): void {
    const { clock, listener, requestMetrics, errorCounter, accessLog, onDefect } = this.#options;
    const request = this.#request;
    const status = this.#head?.status ?? 0;
    const durationMs = clock.monotonicMs() - request.startMs;
    const problem = error ?? request.error;
    const flag = flagsOf(problem, request.flag);
    listener.requestsActive.value--;
    listener.response(status);
    const grpcStatus = request.isGrpc ? grpcStatusTold(request, this.#head, problem) : -1;
    const { requestBytes, responseBytes } = request;
    requestMetrics(request).record(status, flag, durationMs, requestBytes, responseBytes, grpcStatus);
    if (problem !== null) {
      errorCounter(problem.code).value++;
      if (problem.code === "internal") onDefect(problem.cause ?? problem);
    }
    if (accessLog === undefined) return;
    const upstreamMs = this.#headMs < 0 ? -1 : this.#headMs - request.startMs;
    const startWallMs = clock.wallMs() - durationMs;
    const asSent = { target: this.#target, authority: this.#authority };
    const outcome = { status, grpcStatus, flag, durationMs, upstreamMs, startWallMs, problem };
    accessLog.write(accessLogEntry(request, asSent, outcome));
  }
}

/** As Envoy writes them: the error's own flag, then those that only add to it. */
export function flagsOf(problem: ProxyError | null, more: string): string {
  const own = problem?.row.flag ?? "-";
  if (more === "") return own;
  return own === "-" ? more : `${own},${more}`;
}

/** How a gRPC call ended for its caller: as told, or as clients read what they got. */
function grpcStatusTold(
  request: RequestContext,
  head: ResponseHead | null,
  problem: ProxyError | null,
): number {
  const inHead = head === null ? undefined : grpcStatusOf(head.headers);
  if (inHead !== undefined) return inHead;
  if (request.grpcStatus >= 0) return request.grpcStatus;
  return problem?.row.grpcStatus ?? grpcStatusOfHttp(head?.status ?? 0);
}
