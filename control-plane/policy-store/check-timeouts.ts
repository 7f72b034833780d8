import { parseDuration } from "../../src/time/duration.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** An attempt that may take longer than the whole request would never be cut: the document contradicts itself. */
export function checkTimeouts(
  timeouts: { readonly request?: string | undefined; readonly backendRequest?: string | undefined },
  path: FieldPath,
  report: Report,
): void {
  if (timeouts.request === undefined || timeouts.backendRequest === undefined) return;
  const requestMs = parseDuration(timeouts.request) ?? 0;
  const attemptMs = parseDuration(timeouts.backendRequest) ?? 0;
  if (requestMs === 0 || attemptMs <= requestMs) return;
  report(
    [...path, "backendRequest"],
    `${timeouts.backendRequest} is longer than request (${timeouts.request}), which caps all attempts together`,
  );
}
