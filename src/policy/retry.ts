import type { RetryConfig } from "../config/retry-config.js";
import { errorTable, type ErrorCode } from "../errors/error-table.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import { growingBackoffMs } from "../time/backoff.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import { grpcStatusOf } from "../traffic/grpc.js";
import { getHeader } from "../traffic/headers.js";
import { hasSpentRetries } from "../traffic/hop-fields.js";
import { hasIdempotencyKey } from "../traffic/idempotency-key.js";
import type { ResponseHead } from "../traffic/message.js";
import { batchPriority } from "../traffic/priority.js";
import { OfferedTunnel } from "./offered-tunnel.js";
import { ReplayBody } from "./replay-body.js";
import { parseRetryAfterMs, parseRetryPushbackMs } from "./retry-after.js";
import type { RetryBudget } from "./retry-budget.js";
import type { RetryPlaces } from "./retry-places.js";
import {
  isRetryable,
  isUnseen,
  retryRules,
  shouldRetry,
  type AttemptOutcome,
  type Repeatability,
  type RetryRules,
} from "./retry-decision.js";

export interface RetryOptions {
  /** Absent: one retry of what the upstream provably never saw. */
  readonly config: RetryConfig | undefined;
  /** Spent by every retry; shared by all routes to a cluster. */
  readonly budget: RetryBudget;
  /** Beside the budget: both must have room. Absent: as many at once as the budget pays for. */
  readonly places?: RetryPlaces | undefined;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
  readonly meters: RetryMeters;
  /** Silence that ends the request (streamIdle): a pause of that length would end in nothing. 0 or absent: none does. */
  readonly silenceMs?: number;
}

export interface RetryMeters {
  /** Attempts beyond the first. */
  readonly retries: Counter;
  /** Requests that a retry made good. */
  readonly successes: Counter;
  /** Retries that the budget or the limit of those under way denied. */
  readonly overflows: Counter;
  /** Requests that failed with all their attempts used up. */
  readonly exhausted: Counter;
  /** Retries left to another hop: the request repeats one already, or a hop behind has spent its retries. */
  readonly suppressed?: Counter;
}

/**
 * Sends a request again when that may help and cannot do harm. Decides while nothing of a response has gone downstream;
 * the head that it lets through is the commit point. What the last attempt gave passes through unchanged.
 */
export function retry(options: RetryOptions): Layer {
  return (inner) => new Retry(options, inner);
}

class Retry implements Service {
  readonly inner: Service;
  readonly options: RetryOptions;
  readonly rules: RetryRules;
  readonly silenceMs: number;

  constructor(options: RetryOptions, inner: Service) {
    this.inner = inner;
    this.options = options;
    this.rules = retryRules(options.config);
    const { silenceMs = 0 } = options;
    this.silenceMs = silenceMs === 0 ? Infinity : silenceMs;
  }

  call(request: RequestContext, reply: Reply): Call {
    this.options.budget.addRequest(request.startMs);
    const call = new RetriedCall(this, request, reply);
    call.attempt();
    return call;
  }
}

/** Ends an attempt whose response is not wanted. Says nothing about the endpoint, as if the client had gone. */
const discarded = new ProxyError("client_gone", "response discarded: the request is sent again");

/**
 * trying: an attempt is under way, no head yet · committed: its head went downstream · discarding: it is being cancelled and
 * a retry follows its end · waiting: between two attempts · cancelled: the caller gave up, the attempt's end is awaited
 */
type Phase = "trying" | "committed" | "discarding" | "waiting" | "cancelled" | "ended";

class RetriedCall implements Call, Reply, TimerTarget {
  readonly #layer: Retry;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #replay: ReplayBody | null;
  /** What the client sends into the tunnel that it asks for; null for a request. */
  readonly #tunnel: BodySource | null;
  /** As the present attempt has it. */
  #offer: OfferedTunnel | null = null;
  #phase: Phase = "trying";
  #retries = 0;
  #hasPlace = false;
  /** The attempt under way; null while its call has not returned yet. */
  #inner: Call | null = null;
  /** What the attempt is cancelled with, and (cancelled) what the caller is told. */
  #reason: ProxyError = discarded;
  #waitMs = 0;
  /** undefined until it is asked for. */
  #hasKey: boolean | undefined;
  #timer: WheelTimer | null = null;

  constructor(layer: Retry, request: RequestContext, reply: Reply) {
    this.#layer = layer;
    this.#request = request;
    this.#reply = reply;
    const { body, head } = request;
    const isTunnel = head.upgrade !== "";
    this.#tunnel = isTunnel ? body : null;
    this.#replay = body === null || isTunnel ? null : new ReplayBody(body, layer.rules.maxReplayBytes);
  }

  attempt(): void {
    this.#phase = "trying";
    this.#inner = null;
    if (this.#replay !== null) this.#request.body = this.#replay.nextAttempt();
    else if (this.#tunnel !== null) this.#request.body = this.#offer = new OfferedTunnel(this.#tunnel);
    const inner = this.#layer.inner.call(this.#request, this);
    this.#inner = inner;
    // Read anew: all may have happened during the call.
    const phase = this.#phase as Phase;
    if (phase === "discarding" || phase === "cancelled") inner.cancel(this.#reason);
  }

  onTimer(): void {
    this.#retries++;
    this.#layer.options.meters.retries.value++;
    this.attempt();
  }

  cancel(error: ProxyError): void {
    switch (this.#phase) {
      case "trying":
      case "committed":
        this.#phase = "cancelled";
        this.#reason = error;
        this.#inner?.cancel(error);
        return;
      case "discarding":
        this.#phase = "cancelled";
        this.#reason = error;
        return;
      case "waiting":
        this.#timer?.cancel();
        this.#finish(error);
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
    this.#givePlace();
    const { rules, options } = this.#layer;
    const outcome = failureOf(head, this.#request);
    const isSpent = outcome !== undefined && hasSpentRetries(head.headers);
    if (
      outcome !== undefined &&
      !isBatchShed(outcome, this.#request) &&
      isRetryable(rules, outcome, this.#repeatability())
    ) {
      if (this.#mayRetry(outcome, pauseAsked(outcome, head, options.clock), isSpent)) {
        this.#phase = "discarding";
        this.#reason = discarded;
        this.#inner?.cancel(discarded);
        return;
      }
    } else if (this.#retries > 0) {
      options.meters.successes.value++;
    }
    // Passed on whatever this hop's own rules are: behind the next hop nothing has changed.
    if (isSpent && this.#request.origin !== null) this.#request.origin.hasSpentRetries = true;
    this.#phase = "committed";
    this.#replay?.release();
    if (head.status !== 101) this.#offer?.release();
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    switch (this.#phase) {
      case "trying":
        this.#givePlace();
        if (error === null || !this.#mayRetry(error.code, undefined, false)) return this.#finish(error);
        // Connections as old as the one that was closed are about to be closed, too.
        if (error.code === "keepalive_race" || error.code === "upstream_unprocessed")
          this.#request.needsFreshConnection = true;
        return this.#wait();
      case "discarding":
        return this.#wait();
      case "cancelled":
        return this.#finish(this.#reason);
      case "committed":
        return this.#finish(error);
      case "waiting":
      case "ended":
        return;
    }
  }

  /** Decides, and spends the budget; notes the pause. @param isSpent the hops behind have had their retries. */
  #mayRetry(outcome: AttemptOutcome, retryAfterMs: number | undefined, isSpent: boolean): boolean {
    const { rules, options } = this.#layer;
    const { clock, meters } = options;
    const nowMs = clock.monotonicMs();
    const decision = shouldRetry(rules, {
      outcome,
      ...this.#repeatability(),
      retries: this.#retries,
      isLeftToOthers: isSpent || this.#request.isRepetition,
      canReplay: this.#replay?.canReplay ?? true,
      retryAfterMs,
      // No retry is begun that the deadline, or the timer of silence, would cut off during its pause.
      remainingMs: Math.min(this.#request.deadlineMs - nowMs, this.#layer.silenceMs),
      backoffMs: growingBackoffMs(rules, this.#retries, () => clock.random()),
    });
    switch (decision.type) {
      case "final":
        return false;
      case "exhausted":
        this.#request.flag = "URX";
        meters.exhausted.value++;
        this.#spent();
        return false;
      case "suppressed":
        if (meters.suppressed !== undefined) meters.suppressed.value++;
        this.#spent();
        return false;
      case "retry":
        if (!this.#isGranted(nowMs)) {
          meters.overflows.value++;
          this.#spent();
          return false;
        }
        this.#waitMs = decision.waitMs;
        if (!isUnseen(outcome)) this.#request.attempt++;
        return true;
    }
  }

  /** Takes a place and spends the budget, or neither. */
  #isGranted(nowMs: number): boolean {
    const { budget, places } = this.#layer.options;
    if (places?.hasRoom === false || !budget.tryRetry(nowMs)) return false;
    if (places !== undefined) {
      places.take();
      this.#hasPlace = true;
    }
    return true;
  }

  #givePlace(): void {
    if (!this.#hasPlace) return;
    this.#hasPlace = false;
    this.#layer.options.places?.give();
  }

  /**
   * What failed here for want of retries, callers need not repeat. Only what a document asked for counts: the one retry that
   * everybody has bridges less than a caller's own.
   */
  #spent(): void {
    const { origin } = this.#request;
    if (origin !== null && this.#layer.options.config !== undefined) origin.hasSpentRetries = true;
  }

  #repeatability(): Repeatability {
    const { head } = this.#request;
    this.#hasKey ??= hasIdempotencyKey(head.headers);
    return { method: head.method, hasKey: this.#hasKey };
  }

  /** Also a pause of nothing goes over the wheel: the next attempt never begins inside the end of the last. */
  #wait(): void {
    this.#phase = "waiting";
    this.#timer = this.#layer.options.wheel.add(this.#waitMs, this);
  }

  #finish(error: ProxyError | null): void {
    this.#phase = "ended";
    this.#givePlace();
    this.#replay?.release();
    this.#offer?.release();
    this.#reply.end(error);
  }
}

/** What an endpoint asks its callers to wait; undefined when it asks nothing, or only for itself: another may have room. */
function pauseAsked(outcome: AttemptOutcome, { headers }: ResponseHead, clock: Clock): number | undefined {
  if (outcome === "overloaded") return undefined;
  const pushbackMs =
    typeof outcome === "number"
      ? undefined
      : parseRetryPushbackMs(getHeader(headers, "grpc-retry-pushback-ms"));
  return pushbackMs ?? parseRetryAfterMs(getHeader(headers, "retry-after"), clock.wallMs());
}

/** Where there is no room for batch, its retries would spend the budget that more important requests need. */
function isBatchShed(outcome: AttemptOutcome, { priority }: RequestContext): boolean {
  return outcome === "overloaded" && priority === batchPriority;
}

/** What a head tells of a failure; undefined when there is none, or none that is known yet (gRPC: only the trailers tell). */
function failureOf(head: ResponseHead, request: RequestContext): AttemptOutcome | undefined {
  const grpcStatus = head.status < 400 && request.isGrpc ? (grpcStatusOf(head.headers) ?? 0) : 0;
  if (head.status < 400 && grpcStatus === 0) return undefined;
  const code = getHeader(head.headers, "x-remora-error");
  const madeBy = code !== undefined && Object.hasOwn(errorTable, code) ? (code as ErrorCode) : undefined;
  // The endpoint's own sidecar says that its application never saw the request. It takes the field off whatever the
  // application says; others' word for it is not enough.
  if (
    madeBy !== undefined &&
    errorTable[madeBy].retry === "always" &&
    request.upstream?.config.meshed === true
  )
    return madeBy;
  return head.status >= 400 ? head.status : { grpcStatus, madeBy };
}
