import { parseByteSize } from "../../src/config/byte-size.js";
import { backoffDefaults } from "../../src/config/cluster-defaults.js";
import type { PolicyRetrySpec } from "../../src/config/documents/policy-retry.js";
import { parseDuration } from "../../src/time/duration.js";
import { checkOrder } from "./check-order.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

const maxBufferBytes = 1024 * 1024;

/** Contradictions inside `retry` of a policy. */
export function checkPolicyRetry(spec: PolicyRetrySpec, path: FieldPath, report: Report): void {
  const { backoff, bufferLimit, codes, on } = spec;
  checkOrder(
    [...path, "backoff"],
    { name: "base", text: backoff?.base },
    { name: "max", text: backoff?.max },
    report,
  );
  const { maxRetryAfter } = backoff ?? {};
  if ((parseDuration(maxRetryAfter ?? "0s") ?? 0) > backoffDefaults.maxRetryAfterMs)
    report([...path, "backoff", "maxRetryAfter"], `${maxRetryAfter} is over the limit of 5m`);
  if (on?.includes("retriable-status-codes") === true && (codes ?? []).length === 0) {
    report([...path, "on"], "retriable-status-codes announces statuses, but codes names none");
  }
  if (bufferLimit !== undefined && parseByteSize(bufferLimit) > maxBufferBytes) {
    report([...path, "bufferLimit"], `${bufferLimit} is over the limit of 1MiB`);
  }
}
