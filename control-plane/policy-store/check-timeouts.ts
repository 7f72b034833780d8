import { parseDuration } from "../../src/time/duration.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

/** An attempt that may take longer than the whole request would never be cut: the document contradicts itself. */
export function checkTimeouts(
  path: FieldPath,
  timeouts:
    { readonly request?: string | undefined; readonly backendRequest?: string | undefined } | undefined,
): readonly FieldProblem[] {
  if (timeouts?.request === undefined || timeouts.backendRequest === undefined) return [];
  const requestMs = parseDuration(timeouts.request) ?? 0;
  const attemptMs = parseDuration(timeouts.backendRequest) ?? 0;
  if (requestMs === 0 || attemptMs <= requestMs) return [];
  return [
    {
      path: [...path, "backendRequest"],
      message: `${timeouts.backendRequest} is longer than request (${timeouts.request}), which caps all attempts together`,
    },
  ];
}
