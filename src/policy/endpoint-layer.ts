import type { ProxyError } from "../errors/proxy-error.js";
import type { Endpoint } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { WatchedGrpcBody, type GrpcResponseListener } from "../traffic/grpc-response.js";
import { grpcStatusOf, isGrpcServerFault } from "../traffic/grpc.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import type { AttemptVerdict } from "./breaker-state.js";
import type { ClusterEndpoint } from "./cluster-endpoint.js";
import { tellUpstream } from "./deadline.js";
import { parseRetryAfterMs, parseRetryPushbackMs } from "./retry-after.js";
import { wasShed } from "./shed-answer.js";
import { speaksAgainstEndpoint } from "./upstream-faults.js";

/** Keeps the latency estimate that pickers compare; balance/peak-ewma.ts has one. */
export interface LatencyEstimator {
  /** The response head came after `latencyMs`. */
  observe(endpoint: Endpoint, latencyMs: number, nowMs: number): void;
  /** No usable response came within `latencyMs`: may raise the estimate, never lower it. */
  observeAtLeast(endpoint: Endpoint, latencyMs: number, nowMs: number): void;
  /** The endpoint asked to be left alone for `penaltyMs`. */
  penalize(endpoint: Endpoint, penaltyMs: number, nowMs: number): void;
}

/** Sends one attempt to the endpoint that was picked. `nowMs` is the time of the pick. */
export type EndpointDispatch<E extends Endpoint> = (
  endpoint: E,
  request: RequestContext,
  reply: Reply,
  nowMs: number,
) => Call;

/**
 * For 429 and RESOURCE_EXHAUSTED that do not say how long, and the most that they can ask for (linkerd load biaser).
 */
const penaltyMs = 5000;
const maxPenaltyMs = 300_000;
const grpcResourceExhausted = 8;
const grpcUnavailable = 14;
const grpcDeadlineExceeded = 4;
/** An endpoint whose sidecar sheds load is avoided for so long: about as long as its limit takes to follow. */
const shedPenaltyMs = 250;

/**
 * The innermost layer, around an endpoint's transport: counts the attempts under way, measures the time to the response
 * head, and gives the breaker its verdict. Status >= 500 counts as a failure. A gRPC call is judged by its own status, which
 * may come only with the trailers.
 */
export function endpointLayer(clock: Clock, latency: LatencyEstimator): EndpointDispatch<ClusterEndpoint> {
  return (endpoint, request, reply, nowMs) => {
    endpoint.inflight++;
    if (request.isGrpc) request.grpcStatus = -1;
    tellUpstream(request, endpoint.config.meshed, nowMs);
    const attempt = new Attempt(
      { endpoint, request, reply, clock, latency },
      nowMs,
      endpoint.gate.admit(nowMs),
    );
    return endpoint.transport.call(request, attempt);
  };
}

interface AttemptParts {
  readonly endpoint: ClusterEndpoint;
  readonly request: RequestContext;
  readonly reply: Reply;
  readonly clock: Clock;
  readonly latency: LatencyEstimator;
}

class Attempt implements Reply, GrpcResponseListener {
  readonly #parts: AttemptParts;
  readonly #startMs: number;
  readonly #isProbe: boolean;
  #hasHead = false;
  /** Until the response head, or the end without one. */
  #latencyMs = 0;
  /** The breaker has its verdict, and a probe its release. Errors after it still count. */
  #isJudged = false;

  constructor(parts: AttemptParts, startMs: number, isProbe: boolean) {
    this.#parts = parts;
    this.#startMs = startMs;
    this.#isProbe = isProbe;
  }

  informational(head: ResponseHead): void {
    this.#parts.reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#hasHead = true;
    const { endpoint, request, clock, reply } = this.#parts;
    const nowMs = clock.monotonicMs();
    // Any other status is no gRPC answer: something on the way gave it.
    this.#latencyMs = nowMs - this.#startMs;
    if (request.isGrpc && head.status === 200) {
      request.grpcStatus = grpcStatusOf(head.headers) ?? -1;
      if (request.grpcStatus < 0 && body !== null) {
        this.#measure(true, nowMs);
        return reply.head(head, new WatchedGrpcBody(body, this));
      }
      if (request.grpcStatus === grpcUnavailable && wasShed(endpoint, head.headers)) this.#spare(nowMs);
      else {
        this.#measure(!isGrpcServerFault(request.grpcStatus), nowMs);
        this.#judgeGrpc(head.headers, nowMs);
      }
    } else if (head.status === 503 && wasShed(endpoint, head.headers)) this.#spare(nowMs);
    else {
      this.#measure(head.status < 500, nowMs);
      if (head.status === 429) this.#penalize(head.headers, nowMs);
      this.#judge(verdictOf(head.status), nowMs);
    }
    reply.head(head, body);
  }

  grpcMessage(): void {
    // A stream may go on for hours, and while a probe is under way nobody else is sent here: the message is proof enough.
    if (this.#isProbe) this.#judge("success", this.#parts.clock.monotonicMs());
  }

  grpcTrailers(trailers: readonly string[] | null): void {
    const { request, clock } = this.#parts;
    const fields = trailers ?? [];
    request.grpcStatus = grpcStatusOf(fields) ?? -1;
    this.#judgeGrpc(fields, clock.monotonicMs());
  }

  end(error: ProxyError | null): void {
    const { endpoint, reply } = this.#parts;
    endpoint.inflight--;
    if (error !== null) this.#fail(error);
    // Nothing is known of the endpoint then, but the probe must be released in every case.
    else if (this.#isProbe && !this.#isJudged) endpoint.gate.dropProbe();
    reply.end(error);
  }

  /** It is well and says that it has enough: no verdict on it, only less to do. An ejection would overload the others. */
  #spare(nowMs: number): void {
    const { endpoint, latency } = this.#parts;
    latency.penalize(endpoint, shedPenaltyMs, nowMs);
    if (this.#isProbe && !this.#isJudged) endpoint.gate.dropProbe();
    this.#isJudged = true;
  }

  /** The time to the head. A fast failure must not look like a fast endpoint, or it would draw all the traffic. */
  #measure(isSuccess: boolean, nowMs: number): void {
    const { endpoint, latency } = this.#parts;
    if (isSuccess) latency.observe(endpoint, nowMs - this.#startMs, nowMs);
    else latency.observeAtLeast(endpoint, nowMs - this.#startMs, nowMs);
  }

  /** Once; a failure that comes later counts as one more. */
  #judge(verdict: AttemptVerdict, nowMs: number): void {
    if (this.#isJudged && verdict === "success") return;
    // Slowness is told once, with the first verdict.
    const latencyMs = this.#isJudged ? 0 : this.#latencyMs;
    this.#parts.endpoint.gate.record(verdict, this.#isProbe && !this.#isJudged, nowMs, latencyMs);
    this.#isJudged = true;
  }

  /** Without a status that can be read, what came is judged by its HTTP status, which is 200 (linkerd2-proxy, classify). */
  #judgeGrpc(fields: readonly string[], nowMs: number): void {
    const { grpcStatus } = this.#parts.request;
    if (grpcStatus === grpcResourceExhausted) this.#penalize(fields, nowMs);
    this.#judge(verdictOfGrpc(grpcStatus), nowMs);
  }

  #fail(error: ProxyError): void {
    const { endpoint, request, clock, latency } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (!this.#hasHead) {
      this.#latencyMs = nowMs - this.#startMs;
      latency.observeAtLeast(endpoint, this.#latencyMs, nowMs);
    }
    if (speaksAgainstEndpoint(error, request.head.upgrade, this.#hasHead))
      this.#judge(this.#hasHead ? "failure" : "none", nowMs);
    else if (!this.#hasHead && error.code === "client_gone")
      endpoint.gate.abandon(this.#isProbe, nowMs, this.#latencyMs);
    else if (this.#isProbe && !this.#isJudged) endpoint.gate.dropProbe();
  }

  #penalize(fields: readonly string[], nowMs: number): void {
    const { endpoint, clock, latency } = this.#parts;
    const pushbackMs = parseRetryPushbackMs(getHeader(fields, "grpc-retry-pushback-ms")) ?? Infinity;
    const askedMs =
      pushbackMs === Infinity
        ? parseRetryAfterMs(getHeader(fields, "retry-after"), clock.wallMs())
        : pushbackMs;
    latency.penalize(endpoint, Math.min(maxPenaltyMs, askedMs ?? penaltyMs), nowMs);
  }
}

function verdictOf(status: number): AttemptVerdict {
  if (status < 500) return "success";
  return status >= 502 && status <= 504 ? "gateway" : "failure";
}

/** UNAVAILABLE and DEADLINE_EXCEEDED are what 503 and 504 are to HTTP (Envoy, grpcToHttpStatus). */
function verdictOfGrpc(grpcStatus: number): AttemptVerdict {
  if (!isGrpcServerFault(grpcStatus)) return "success";
  return grpcStatus === grpcUnavailable || grpcStatus === grpcDeadlineExceeded ? "gateway" : "failure";
}
