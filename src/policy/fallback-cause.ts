import type { FallbackCause } from "../config/fallback-config.js";
import { errorTable, type ErrorCode, type ErrorRow } from "../errors/error-table.js";
import { grpcStatusOf, isGrpcServerFault } from "../traffic/grpc.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";

/** How a request failed. */
export interface Failure {
  /** In the words of documents. */
  readonly cause: FallbackCause;
  /** Error code, or status of the response, for the access log. */
  readonly what: string;
  /** Remora's own name for it; undefined when the application answered so. */
  readonly code: ErrorCode | undefined;
}

/** Codes whose cause has a word of its own; the words of the others follow from their status. Key: code. */
const ownWords: ReadonlyMap<string, FallbackCause> = new Map([
  ["circuit_open", "open"],
  ["connect_failed", "connect-failure"],
  ["connect_timeout", "connect-failure"],
  ["upstream_tls_failed", "connect-failure"],
  ["upstream_identity_mismatch", "connect-failure"],
  ["no_healthy_endpoint", "no-endpoint"],
  ["plaintext_refused", "no-endpoint"],
  ["no_backend", "no-endpoint"],
]);

/** Told before anything was sent to an endpoint, whatever may be retried after them. */
const refusals: ReadonlySet<string> = new Set([
  "circuit_open",
  "concurrency_limit",
  "queue_timeout",
  "idempotency_store_full",
  "idempotency_store_unavailable",
  "no_healthy_endpoint",
  "plaintext_refused",
  "no_backend",
  "rate_limited",
]);

/** The failure that an error is, or undefined when no fallback is for it: the caller itself is the cause. Pure. */
export function failureOfError(code: ErrorCode): Failure | undefined {
  const cause = causeOf(code);
  return cause === undefined ? undefined : { cause, what: code, code };
}

/**
 * The failure that a response head tells of. Pure.
 * @param isTrusted it came from a sidecar, whose x-remora-error says what happened.
 */
export function failureOfHead(head: ResponseHead, isGrpc: boolean, isTrusted: boolean): Failure | undefined {
  const grpcStatus = isGrpc && head.status === 200 ? grpcStatusOf(head.headers) : undefined;
  const isFine = grpcStatus === undefined ? head.status < 500 && head.status !== 429 : grpcStatus === 0;
  if (isFine) return undefined;
  const told = isTrusted ? getHeader(head.headers, "x-remora-error") : undefined;
  if (told !== undefined && Object.hasOwn(errorTable, told)) return failureOfError(told as ErrorCode);
  const cause = grpcStatus === undefined ? causeOfStatus(head.status) : causeOfGrpc(grpcStatus);
  if (cause === undefined) return undefined;
  return { cause, what: grpcStatus === undefined ? `${head.status}` : `grpc ${grpcStatus}`, code: undefined };
}

/**
 * May the request be sent elsewhere? Safe and idempotent ones may (RFC 9110 §9.2); the others when no application can have
 * worked on them. Pure.
 * @param attempts made so far.
 * @param wasSeen an application may have worked on an attempt before the last.
 */
export function mayBeSentElsewhere(
  failure: Failure,
  method: string,
  attempts: number,
  wasSeen: boolean,
): boolean {
  if (idempotent.has(method) || attempts === 0) return true;
  if (failure.code === undefined || wasSeen) return false;
  return errorTable[failure.code].retry === "always" || refusals.has(failure.code);
}

const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

function causeOf(code: ErrorCode): FallbackCause | undefined {
  const own = ownWords.get(code);
  if (own !== undefined) return own;
  const { side, status }: ErrorRow = errorTable[code];
  return side === "downstream" && status !== 429 ? undefined : causeOfStatus(status);
}

function causeOfStatus(status: number): FallbackCause | undefined {
  if (status === 429) return "rate-limited";
  if (status === 504) return "timeout";
  return status >= 500 ? "5xx" : undefined;
}

/** DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED have words of their own. */
function causeOfGrpc(status: number): FallbackCause | undefined {
  if (status === 4) return "timeout";
  if (status === 8) return "rate-limited";
  return isGrpcServerFault(status) ? "5xx" : undefined;
}
