import type { TrafficPolicySpec } from "../../src/config/documents/traffic-policy.js";
import { parseDuration } from "../../src/time/duration.js";
import type { Report } from "./field-checks.js";

/** The time of an attempt has two names in a policy, Envoy's and the Gateway API's: they must not contradict each other. */
export function checkAttemptTime({ retry, timeouts }: TrafficPolicySpec, report: Report): void {
  const perTry = retry?.perTryTimeout;
  const backendRequest = timeouts?.backendRequest;
  if (perTry !== undefined && backendRequest !== undefined) {
    if (parseDuration(perTry) === parseDuration(backendRequest)) return;
    report(
      ["spec", "retry", "perTryTimeout"],
      `${perTry} contradicts timeouts.backendRequest (${backendRequest}), which is another name of it; write one of them`,
    );
    return;
  }
  const requestMs = parseDuration(timeouts?.request ?? "0s") ?? 0;
  const attemptMs = parseDuration(perTry ?? "0s") ?? 0;
  if (requestMs === 0 || attemptMs < requestMs) return;
  report(
    ["spec", "retry", "perTryTimeout"],
    `${perTry} is not shorter than timeouts.request (${timeouts?.request}), which caps all attempts together`,
  );
}
