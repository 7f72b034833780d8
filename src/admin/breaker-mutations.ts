import type { BreakerCommand } from "../policy/breaker-command.js";
import { formatDuration, parseDuration } from "../time/duration.js";
import type { AdminView } from "./admin-view.js";
import type { Mutation, MutationOf } from "./mutation.js";
import { textPage } from "./pages.js";

/** An override that somebody forgets must end by itself, within a day at the latest. */
const forDefault = "5m";
const mostMs = 86_400_000;
const leastMs = 1000;

const actions = ["open", "close", "isolate", "reset"] as const;

/**
 * POST /breakers/<action>?service=NAME&endpoint=HOST:PORT&for=5m&force=true: what the breakers of a service are told. `reset`
 * without a service is for all.
 */
export const breakerMutations: readonly (readonly [path: string, MutationOf])[] = actions.map((action) => [
  `/breakers/${action}`,
  (view, query) => driven(view, action, query),
]);

function driven(
  view: AdminView,
  action: BreakerCommand["action"],
  query: URLSearchParams,
): Mutation | Promise<Mutation> {
  const service = query.get("service") ?? undefined;
  const text = query.get("for") ?? forDefault;
  const forMs = parseDuration(text);
  if (service === undefined && action !== "reset")
    return refused(`which service? POST /breakers/${action}?service=NAME`);
  if (forMs === undefined || forMs < leastMs || forMs > mostMs)
    return refused(
      `for=${text} is no time to hold it; give ${formatDuration(leastMs)} to ${formatDuration(mostMs)}, like 5m`,
    );
  const endpoint = query.get("endpoint") ?? undefined;
  if (service === undefined && endpoint !== undefined)
    return refused("an endpoint is one of a service; name that too");
  const isForced = query.get("force") === "true";
  const command = { action, service, endpoint, forMs, isForced };
  return view.drive(command).then((answer) => ({ page: textPage(answer.text, answer.isDone ? 200 : 409) }));
}

function refused(text: string): Mutation {
  return { page: textPage(text, 400) };
}
