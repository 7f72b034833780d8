import { parseByteSize } from "../../src/config/byte-size.js";
import { grpcCodesOf } from "../../src/config/grpc-retry-words.js";
import { backoffDefaults, retryDefaults } from "../../src/config/cluster-defaults.js";
import type { RetrySpec } from "../../src/config/documents/http-route.js";
import type { PolicyRetrySpec } from "../../src/config/documents/policy-retry.js";
import type { RetryConfig } from "../../src/config/retry-config.js";
import { parseDuration } from "../../src/time/duration.js";
import { milliseconds } from "./milliseconds.js";

/** Envoy RetryBackOff: max_interval defaults to ten times base_interval. */
const backoffGrowth = 10;

/**
 * Retries of a route: field by field its own, else those of the service's TrafficPolicy, else the defaults. undefined
 * when neither document speaks of retries: the data path's built-in default holds.
 */
export function compileRetry(
  route: RetrySpec | undefined,
  policy: PolicyRetrySpec | undefined,
): RetryConfig | undefined {
  if (route === undefined && policy === undefined) return undefined;
  const base = route?.backoff ?? policy?.backoff?.base;
  const baseBackoffMs = base === undefined ? retryDefaults.baseBackoffMs : (parseDuration(base) ?? 0);
  const max = policy?.backoff?.max;
  const maxBackoffMs =
    max !== undefined
      ? (parseDuration(max) ?? 0)
      : base === undefined
        ? retryDefaults.maxBackoffMs
        : baseBackoffMs * backoffGrowth;
  const { factor, jitter, maxRetryAfter } = policy?.backoff ?? {};
  return {
    attempts: route?.attempts ?? policy?.attempts ?? retryDefaults.attempts,
    codes: sorted(route?.codes ?? policyCodes(policy) ?? retryDefaults.codes),
    grpcCodes: policy?.on === undefined ? retryDefaults.grpcCodes : grpcCodesOf(policy.on),
    methods: [...new Set(policy?.methods ?? retryDefaults.methods)].sort(),
    baseBackoffMs,
    maxBackoffMs: Math.max(maxBackoffMs, baseBackoffMs),
    ...(factor === undefined || factor === backoffDefaults.factor ? {} : { backoffFactor: factor }),
    ...(jitter === undefined || jitter === backoffDefaults.jitter ? {} : { jitter }),
    ...(maxRetryAfter === undefined ? {} : { maxRetryAfterMs: milliseconds(maxRetryAfter, 0) }),
    maxReplayBytes:
      policy?.bufferLimit === undefined ? retryDefaults.maxReplayBytes : parseByteSize(policy.bufferLimit),
  };
}

/** Envoy retry_on: the statuses that a word stands for. */
const statusesOf: Readonly<Record<string, readonly number[]>> = {
  "5xx": Array.from({ length: 100 }, (_, n) => 500 + n),
  "gateway-error": [502, 503, 504],
  "retriable-4xx": [409],
};

/** With `on`, what it and `codes` say is all; undefined when the policy has neither. */
function policyCodes(policy: PolicyRetrySpec | undefined): readonly number[] | undefined {
  if (policy?.on === undefined) return policy?.codes;
  return [...(policy.codes ?? []), ...policy.on.flatMap((word) => statusesOf[word] ?? [])];
}

function sorted(codes: readonly number[]): readonly number[] {
  return [...new Set(codes)].sort((a, b) => a - b);
}
