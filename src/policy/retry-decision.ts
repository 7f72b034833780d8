import { backoffDefaults, retryDefaults } from "../config/cluster-defaults.js";
import type { RetryConfig } from "../config/retry-config.js";
import { errorTable, type ErrorCode } from "../errors/error-table.js";
import type { GrowingBackoff } from "../time/backoff.js";

/** A route's retry settings in the form the decision needs. Built when a snapshot is applied. */
export interface RetryRules extends GrowingBackoff {
  /** Further attempts after the first. */
  readonly attempts: number;
  readonly codes: ReadonlySet<number>;
  readonly grpcCodes: ReadonlySet<number>;
  /** Methods that may be sent again after the upstream may have worked on them. */
  readonly methods: ReadonlySet<string>;
  /** And those that may when they carry an Idempotency-Key. */
  readonly keyedMethods: ReadonlySet<string>;
  readonly maxReplayBytes: number;
  /** Whoever asks to be left alone for longer is not asked again. */
  readonly maxAskedMs: number;
}

/** RFC 9110 §9.2.2: idempotent methods. */
const idempotent: ReadonlySet<string> = new Set(retryDefaults.methods);

/**
 * Methods that a key makes idempotent (draft-ietf-httpapi-idempotency-key-header §1). The others are so by themselves, or
 * the operator took them off the list.
 */
const keyed: ReadonlySet<string> = new Set(["POST", "PATCH"]);
const none: ReadonlySet<string> = new Set();

/**
 * Without configuration: what the upstream provably never saw is sent again, once; and idempotent requests that lost the
 * race against the close of a kept-alive connection, which happens with every healthy server (RFC 9112 §9.3.1).
 */
export function retryRules(config: RetryConfig | undefined): RetryRules {
  const { attempts, baseBackoffMs, maxBackoffMs, maxReplayBytes } = config ?? retryDefaults;
  return {
    attempts,
    codes: new Set(config?.codes),
    grpcCodes: new Set(config?.grpcCodes),
    methods: new Set(config?.methods),
    keyedMethods: config === undefined ? none : keyed,
    baseMs: baseBackoffMs,
    maxMs: maxBackoffMs,
    factor: config?.backoffFactor ?? backoffDefaults.factor,
    jitter: config?.jitter ?? backoffDefaults.jitter,
    maxReplayBytes,
    maxAskedMs: config?.maxRetryAfterMs ?? backoffDefaults.maxRetryAfterMs,
  };
}

/** A trailers-only reply to a gRPC call. */
export interface GrpcFailure {
  readonly grpcStatus: number;
  /** The error of another sidecar on the way that made this reply; undefined when the application did. */
  readonly madeBy: ErrorCode | undefined;
}

/** HTTP status, gRPC status, or the error that came in place of a response. */
export type AttemptOutcome = number | GrpcFailure | ErrorCode;

/** What of a request decides whether it may be sent again. */
export interface Repeatability {
  readonly method: string;
  /** It carries an Idempotency-Key: a server that knows keys executes it once however often it comes. */
  readonly hasKey: boolean;
}

/** An attempt that failed before any byte of a response went downstream. */
export interface FailedAttempt extends Repeatability {
  readonly outcome: AttemptOutcome;
  /** Retries made so far. */
  readonly retries: number;
  /** Another hop repeats the request, or has: this one sends again only what was not seen. */
  readonly isLeftToOthers: boolean;
  /** The body, if there is one, can be sent again from its first byte. */
  readonly canReplay: boolean;
  /** What Retry-After or grpc-retry-pushback-ms asks for, Infinity = not to retry; undefined without one. */
  readonly retryAfterMs: number | undefined;
  /** Until the request's deadline; Infinity without one. */
  readonly remainingMs: number;
  /** The pause before the next attempt that chance has drawn, before Retry-After is looked at. */
  readonly backoffMs: number;
}

export type RetryDecision =
  | { readonly type: "retry"; readonly waitMs: number }
  /** Nothing to gain: the result is final by its kind. */
  | { readonly type: "final" }
  /** It could be retried, but the attempts are used up. */
  | { readonly type: "exhausted" }
  /** It could be retried, but that would multiply the retries of another hop. */
  | { readonly type: "suppressed" };

const final: RetryDecision = { type: "final" };
const exhausted: RetryDecision = { type: "exhausted" };
const suppressed: RetryDecision = { type: "suppressed" };

function isIdempotent(
  methods: ReadonlySet<string>,
  keyed: ReadonlySet<string>,
  { method, hasKey }: Repeatability,
): boolean {
  return methods.has(method) || (hasKey && keyed.has(method));
}

/** Is the outcome by itself worth another attempt of this request? Pure. RFC 9110 §9.2.2 for the methods. */
export function isRetryable(rules: RetryRules, outcome: AttemptOutcome, request: Repeatability): boolean {
  if (typeof outcome === "number")
    return rules.codes.has(outcome) && isIdempotent(rules.methods, rules.keyedMethods, request);
  if (typeof outcome === "object") return isGrpcRetryable(rules, outcome, request.method);
  switch (errorTable[outcome].retry) {
    case "always":
      return true;
    case "if-idempotent":
      return (
        isIdempotent(rules.methods, rules.keyedMethods, request) ||
        (outcome === "keepalive_race" && isIdempotent(idempotent, keyed, request))
      );
    case "never":
      return false;
  }
}

/** Did the upstream application provably not see the attempt? Then sending it again adds nothing to its load. */
export function isUnseen(outcome: AttemptOutcome): boolean {
  return typeof outcome === "string" && errorTable[outcome].retry === "always";
}

/**
 * Every gRPC call is a POST, so the method tells nothing: the status itself says whether to come again (Envoy,
 * x-envoy-retry-grpc-on). Unless a sidecar says UNAVAILABLE in place of an application that may have worked on the call.
 */
function isGrpcRetryable(rules: RetryRules, { grpcStatus, madeBy }: GrpcFailure, method: string): boolean {
  if (!rules.grpcCodes.has(grpcStatus)) return false;
  const isUncertain = madeBy !== undefined && errorTable[madeBy].retry === "if-idempotent";
  return !isUncertain || rules.methods.has(method);
}

/** Whether to send the request again, and after which pause. The budget is asked after this. Pure. */
export function shouldRetry(rules: RetryRules, attempt: FailedAttempt): RetryDecision {
  if (!isRetryable(rules, attempt.outcome, attempt) || !attempt.canReplay) return final;
  if (attempt.isLeftToOthers && !isUnseen(attempt.outcome)) return suppressed;
  if (attempt.retries >= rules.attempts) return exhausted;
  // The upstream knows best when to come back.
  const askedMs = attempt.retryAfterMs ?? 0;
  if (askedMs > rules.maxAskedMs) return final;
  const waitMs = Math.max(attempt.backoffMs, askedMs);
  return waitMs < attempt.remainingMs ? { type: "retry", waitMs } : final;
}
