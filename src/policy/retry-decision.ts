import { retryDefaults } from "../config/cluster-defaults.js";
import type { RetryConfig } from "../config/retry-config.js";
import { errorTable, type ErrorCode } from "../errors/error-table.js";

/** A route's retry settings in the form the decision needs. Built when a snapshot is applied. */
export interface RetryRules {
  /** Further attempts after the first. */
  readonly attempts: number;
  readonly codes: ReadonlySet<number>;
  readonly grpcCodes: ReadonlySet<number>;
  /** Methods that may be sent again after the upstream may have worked on them. */
  readonly methods: ReadonlySet<string>;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly maxReplayBytes: number;
}

/** RFC 9110 §9.2.2: idempotent methods. */
const idempotent: ReadonlySet<string> = new Set(retryDefaults.methods);

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
    baseMs: baseBackoffMs,
    maxMs: maxBackoffMs,
    maxReplayBytes,
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

/** An attempt that failed before any byte of a response went downstream. */
export interface FailedAttempt {
  readonly outcome: AttemptOutcome;
  readonly method: string;
  /** Retries made so far. */
  readonly retries: number;
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
  | { readonly type: "exhausted" };

const final: RetryDecision = { type: "final" };
const exhausted: RetryDecision = { type: "exhausted" };

/** Is the outcome by itself worth another attempt with this method? Pure. RFC 9110 §9.2.2 for the methods. */
export function isRetryable(rules: RetryRules, outcome: AttemptOutcome, method: string): boolean {
  if (typeof outcome === "number") return rules.codes.has(outcome) && rules.methods.has(method);
  if (typeof outcome === "object") return isGrpcRetryable(rules, outcome, method);
  switch (errorTable[outcome].retry) {
    case "always":
      return true;
    case "if-idempotent":
      return rules.methods.has(method) || (outcome === "keepalive_race" && idempotent.has(method));
    case "never":
      return false;
  }
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
  if (!isRetryable(rules, attempt.outcome, attempt.method) || !attempt.canReplay) return final;
  if (attempt.retries >= rules.attempts) return exhausted;
  // The upstream knows best when to come back; a caller should not be kept waiting for that long.
  const askedMs = attempt.retryAfterMs ?? 0;
  if (askedMs > rules.maxMs) return final;
  const waitMs = Math.max(attempt.backoffMs, askedMs);
  return waitMs < attempt.remainingMs ? { type: "retry", waitMs } : final;
}
