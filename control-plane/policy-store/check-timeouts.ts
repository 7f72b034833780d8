import { parseDuration } from "../../src/time/duration.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

interface Timeouts {
  readonly request?: string | undefined;
  readonly backendRequest?: string | undefined;
}

/**
 * An attempt that may take longer than the whole request would never be cut: the document contradicts itself. Gateway API:
 * "backendRequest cannot be longer than request".
 */
export function checkTimeouts(timeouts: Timeouts, path: FieldPath, report: Report): void {
  const { request, attempt } = bothOf(timeouts);
  if (request === undefined || attempt === undefined || attempt.ms <= request.ms) return;
  report(
    [...path, "backendRequest"],
    `${attempt.text} is longer than request (${request.text}), which caps all attempts together`,
  );
}

/** In a document of our own also equal ones are refused: there would be no time for a second attempt. */
export function checkPolicyTimeouts(timeouts: Timeouts, path: FieldPath, report: Report): void {
  const { request, attempt } = bothOf(timeouts);
  if (request === undefined || attempt === undefined || attempt.ms !== request.ms)
    return checkTimeouts(timeouts, path, report);
  report(
    [...path, "backendRequest"],
    `${attempt.text} is as long as request, which caps all attempts together: leave it out, or make it shorter`,
  );
}

interface Limit {
  readonly text: string;
  readonly ms: number;
}

/** 0s is no limit. */
function bothOf({ request, backendRequest }: Timeouts): Record<"request" | "attempt", Limit | undefined> {
  const limit = (text: string | undefined): Limit | undefined => {
    const ms = text === undefined ? 0 : (parseDuration(text) ?? 0);
    return text === undefined || ms === 0 ? undefined : { text, ms };
  };
  return { request: limit(request), attempt: limit(backendRequest) };
}
