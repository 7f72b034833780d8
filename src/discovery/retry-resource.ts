import { grpcCodesOf, grpcWordsOf } from "../config/grpc-retry-words.js";
import type { RetryConfig } from "../config/retry-config.js";
import { duration, type Fields } from "./fields.js";
import { decodeValueMatch, encodeValueMatch, methodHeader } from "./route-match.js";

const maxInteger = 2 ** 32 - 1;
const jitters = { NONE: "none", EQUAL: "equal" } as const;

/** Envoy's words for what every retry configuration retries. */
const statusWords = ["connect-failure", "refused-stream", "retriable-status-codes"];

/** Retries as Envoy's RetryPolicy. */
export function encodeRetry(retry: RetryConfig): object {
  // Envoy retries every method if the list is empty; the method "" matches none.
  const methods = retry.methods.length === 0 ? [""] : retry.methods;
  return {
    retryOn: [...statusWords, ...grpcWordsOf(retry.grpcCodes)].join(","),
    numRetries: { value: retry.attempts },
    retriableStatusCodes: retry.codes,
    retriableRequestHeaders: methods.map((value) =>
      encodeValueMatch({ name: methodHeader, type: "exact", value }),
    ),
    retryBackOff: {
      baseInterval: duration(retry.baseBackoffMs),
      maxInterval: duration(retry.maxBackoffMs),
    },
  };
}

/** What RetryPolicy has no field for, as our message. */
export function encodeOurRetry({
  maxReplayBytes,
  backoffFactor,
  jitter,
  maxRetryAfterMs,
}: RetryConfig): object {
  return {
    maxReplayBytes,
    ...(backoffFactor !== undefined && { backoffFactor }),
    ...(jitter !== undefined && { jitter: jitter.toUpperCase() }),
    ...(maxRetryAfterMs !== undefined && { maxRetryAfter: duration(maxRetryAfterMs) }),
  };
}

/** `ours`: what RetryPolicy has no field for. Throws ConfigError. */
export function decodeRetry(policy: Fields, ours: Fields): RetryConfig {
  const backoff = policy.message("retryBackOff");
  const methods = policy.messages("retriableRequestHeaders").map(decodeValueMatch);
  const wrong = methods.find(({ name, type }) => name !== methodHeader || type !== "exact");
  if (wrong !== undefined)
    throw policy.error("retriableRequestHeaders", `only exact ${methodHeader} is known`);
  const backoffFactor = ours.number("backoffFactor", 0, 10);
  const jitter = ours.oneOf("jitter", ["FULL", "NONE", "EQUAL"], "FULL");
  return {
    attempts: policy.wrapped("numRetries", 1),
    codes: policy.integers("retriableStatusCodes", 100, 599),
    grpcCodes: grpcCodesOf(policy.string("retryOn").split(",")),
    methods: methods.map(({ value }) => value).filter((value) => value !== ""),
    baseBackoffMs: backoff.durationMs("baseInterval"),
    maxBackoffMs: backoff.durationMs("maxInterval"),
    ...(backoffFactor > 0 && { backoffFactor }),
    ...(jitter !== "FULL" && { jitter: jitters[jitter] }),
    ...(ours.has("maxRetryAfter") && { maxRetryAfterMs: ours.durationMs("maxRetryAfter") }),
    maxReplayBytes: ours.number("maxReplayBytes", 0, maxInteger),
  };
}
