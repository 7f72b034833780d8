import { nameOf, type Decision, type RuleRef } from "./policy/authorization-decision.js";
import type { Log } from "./sidecar.js";
import type { RequestContext } from "./stack/request-context.js";
import type { Clock } from "./time/clock.js";
import { pathEndOf } from "./traffic/path.js";

/** Between two lines of one kind: callers decide how often they are refused. The access log has every request. */
const pauseMs = 1000;

/** Names in the sidecar's log who was refused, or would have been, and by which rule. */
export function authorizationLog(
  log: Log,
  clock: Clock,
): (request: RequestContext, decision: Decision) => void {
  const denied = lines(log, clock, "request denied");
  const wouldDeny = lines(log, clock, "request would be denied");
  return (request, { verdict, by, wouldDeny: tried }) => {
    if (verdict === "deny" && by !== null) denied(request, by);
    else if (tried !== null) wouldDeny(request, tried);
  };
}

function lines(log: Log, clock: Clock, message: string): (request: RequestContext, by: RuleRef) => void {
  let lastMs = -Infinity;
  let unsaid = 0;
  return ({ head, peerId, remoteAddress }, by) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - lastMs < pauseMs) return void unsaid++;
    const isTcp = head.upgrade === "tcp";
    log("warn", message, {
      rule: nameOf(by),
      caller: peerId ?? remoteAddress,
      ...(isTcp
        ? {}
        : { method: head.method, path: head.target.slice(0, Math.min(pathEndOf(head.target), 200)) }),
      ...(unsaid > 0 && { more: unsaid }),
    });
    lastMs = nowMs;
    unsaid = 0;
  };
}
