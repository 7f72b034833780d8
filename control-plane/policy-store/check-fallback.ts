import { parseByteSize } from "../../src/config/byte-size.js";
import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import type { FallbackSpec } from "../../src/config/documents/fallback.js";
import { checkReplyHeaders } from "./check-reply-headers.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

const maxCacheBytes = 256 * 1024 * 1024;
const kinds = ["reply", "service", "cached"] as const;

/** Contradictions inside `fallback`. */
export function checkFallback(spec: FallbackSpec, path: FieldPath, report: Report): void {
  const [first, ...more] = kinds.filter((kind) => spec[kind] !== undefined);
  if (first === undefined) report(path, `needs one of the fields ${kinds.join(", ")}`);
  for (const kind of more)
    report([...path, kind], `a fallback has one of ${kinds.join(", ")}; it has ${first}`);
  checkUnique(spec.on ?? [], (index) => [...path, "on", index], "failure", report);
  if (spec.reply !== undefined) checkReply(spec.reply, [...path, "reply"], report);
  const { maxBytes } = spec.cached ?? {};
  if (maxBytes === undefined) return;
  const bytes = parseByteSize(maxBytes);
  if (bytes === 0) report([...path, "cached", "maxBytes"], "must be more than nothing");
  if (bytes > maxCacheBytes)
    report([...path, "cached", "maxBytes"], `${maxBytes} is over the limit of 256MiB`);
}

/** The service itself cannot stand in for itself: what failed there would only be sent once more. */
export function checkFallbackTargets({ spec, metadata }: TrafficPolicy, report: Report): void {
  const { service } = spec.fallback ?? {};
  if (service === undefined || (service.namespace ?? metadata.namespace) !== metadata.namespace) return;
  if (!spec.targetRefs.some(({ kind, name }) => kind === "Service" && name === service.name)) return;
  report(["spec", "fallback", "service", "name"], `${service.name} is the service that the policy holds for`);
}

function checkReply(reply: NonNullable<FallbackSpec["reply"]>, path: FieldPath, report: Report): void {
  const { status, headers, body, grpcStatus, grpcMessage } = reply;
  if (status === undefined && grpcStatus === undefined)
    report(path, 'needs the field "status", for gRPC calls "grpcStatus", or both');
  if (status === undefined && body !== undefined) report([...path, "body"], 'needs the field "status"');
  if (status === undefined && headers !== undefined) report([...path, "headers"], 'needs the field "status"');
  // RFC 9110 §15.3.5, §15.4.5: such an answer ends with its head.
  if ((status === 204 || status === 304) && (body ?? "") !== "")
    report([...path, "body"], `an answer with status ${status} has no body`);
  if (grpcStatus === undefined && grpcMessage !== undefined)
    report([...path, "grpcMessage"], 'needs the field "grpcStatus"');
  checkReplyHeaders(headers, [...path, "headers"], report);
}
