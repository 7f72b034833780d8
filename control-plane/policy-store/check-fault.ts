import type { FaultSpec } from "../../src/config/documents/fault.js";
import { parseDuration } from "../../src/time/duration.js";
import { checkHeaderMatches, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Callers have given up by then, and each request that is held back takes memory. */
const maxDelayMs = 300_000;

/** Contradictions inside `fault`; its end is checked when it is applied (fault-expiry.ts). */
export function checkFault(spec: FaultSpec, path: FieldPath, report: Report): void {
  const { delay, abort, match } = spec;
  if (delay === undefined && abort === undefined) report(path, 'needs the field "delay", "abort", or both');
  if (delay !== undefined && (parseDuration(delay.fixed) ?? 0) > maxDelayMs)
    report([...path, "delay", "fixed"], `${delay.fixed} is over the limit of 5m`);
  if (abort !== undefined && abort.status === undefined && abort.grpcStatus === undefined)
    report([...path, "abort"], 'needs the field "status", for gRPC calls "grpcStatus", or both');
  checkHeaderMatches(match?.headers, [...path, "match", "headers"], report);
}
