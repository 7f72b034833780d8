import type { ErrorCode } from "../errors/error-table.js";
import type { ProxyError } from "../errors/proxy-error.js";
import type { Endpoint } from "../stack/endpoint.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import type { ClusterEndpoint } from "./cluster-endpoint.js";
import { parseRetryAfterMs } from "./retry-after.js";

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

/** For 429 without a usable Retry-After, and the most that a Retry-After can ask for (linkerd load biaser). */
const penaltyMs = 5000;
const maxPenaltyMs = 300_000;

/**
 * Errors that speak against the endpoint. Not among them: the client going away, limits of our own, and a kept-alive
 * connection that was closed unread (every server does that).
 */
const endpointFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "connect_failed",
  "connect_timeout",
  "upstream_tls_failed",
  "upstream_identity_mismatch",
  "upstream_reset",
  "upstream_closed",
  "upstream_truncated",
  "upstream_protocol_error",
  "upstream_headers_too_large",
  "attempt_timeout",
  "route_timeout",
  "stream_idle_timeout",
]);

/** Connecting failed for want of descriptors, ports or memory here: ejecting endpoints would turn that into an outage. */
const ownShortages: ReadonlySet<unknown> = new Set([
  "EMFILE",
  "ENFILE",
  "EADDRNOTAVAIL",
  "ENOBUFS",
  "ENOMEM",
]);

function isEndpointFault({ code, cause }: ProxyError): boolean {
  return endpointFaults.has(code) && !ownShortages.has((cause as NodeJS.ErrnoException | undefined)?.code);
}

/**
 * The innermost layer, around an endpoint's transport: counts the attempts under way, measures the time to the response
 * head, and gives the breaker its verdict. Status >= 500 counts as a failure.
 */
export function endpointLayer(clock: Clock, latency: LatencyEstimator): EndpointDispatch<ClusterEndpoint> {
  return (endpoint, request, reply, nowMs) => {
    endpoint.inflight++;
    const attempt = new Attempt(endpoint, reply, clock, latency, nowMs, endpoint.gate.admit(nowMs));
    return endpoint.transport.call(request, attempt);
  };
}

class Attempt implements Reply {
  readonly #endpoint: ClusterEndpoint;
  readonly #reply: Reply;
  readonly #clock: Clock;
  readonly #latency: LatencyEstimator;
  readonly #startMs: number;
  readonly #isProbe: boolean;
  #hasHead = false;

  constructor(
    endpoint: ClusterEndpoint,
    reply: Reply,
    clock: Clock,
    latency: LatencyEstimator,
    startMs: number,
    isProbe: boolean,
  ) {
    this.#endpoint = endpoint;
    this.#reply = reply;
    this.#clock = clock;
    this.#latency = latency;
    this.#startMs = startMs;
    this.#isProbe = isProbe;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#hasHead = true;
    const nowMs = this.#clock.monotonicMs();
    const latencyMs = nowMs - this.#startMs;
    if (head.status >= 500) {
      // A fast failure must not look like a fast endpoint, or it would draw all the traffic.
      this.#latency.observeAtLeast(this.#endpoint, latencyMs, nowMs);
    } else {
      this.#latency.observe(this.#endpoint, latencyMs, nowMs);
      if (head.status === 429) this.#penalize(head, nowMs);
    }
    this.#endpoint.gate.record(head.status < 500, this.#isProbe, nowMs);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#endpoint.inflight--;
    if (error !== null) this.#judge(error);
    // A response without a head and without an error does not exist, but the probe must be released in every case.
    else if (!this.#hasHead && this.#isProbe) this.#endpoint.gate.dropProbe();
    this.#reply.end(error);
  }

  #judge(error: ProxyError): void {
    const nowMs = this.#clock.monotonicMs();
    const isFault = isEndpointFault(error);
    if (this.#hasHead) {
      // The probe had its verdict with the head.
      if (isFault) this.#endpoint.gate.record(false, false, nowMs);
      return;
    }
    this.#latency.observeAtLeast(this.#endpoint, nowMs - this.#startMs, nowMs);
    if (isFault) this.#endpoint.gate.record(false, this.#isProbe, nowMs);
    else if (this.#isProbe) this.#endpoint.gate.dropProbe();
  }

  #penalize(head: ResponseHead, nowMs: number): void {
    const askedMs = parseRetryAfterMs(getHeader(head.headers, "retry-after"), this.#clock.wallMs());
    this.#latency.penalize(this.#endpoint, Math.min(maxPenaltyMs, askedMs ?? penaltyMs), nowMs);
  }
}
