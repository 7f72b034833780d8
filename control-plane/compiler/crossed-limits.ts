import { formatDuration } from "../../src/time/duration.js";
import { compileLimits } from "./compile-limits.js";
import { condition, type Condition } from "./condition.js";
import type { MeshIndex } from "./mesh-index.js";
import { policiesForRule } from "./policies-for.js";
import { rulesOf } from "./route-rules.js";

/**
 * Times of attempts that never end one, because another document caps the whole request no later: each of the two is well by
 * itself. In one document that is refused when it is applied.
 *
 * @returns by the id of each document that has a part in it.
 */
export function crossedLimits(index: MeshIndex): ReadonlyMap<string, readonly Condition[]> {
  const found = new Map<string, Condition[]>();
  for (const { message, sources } of crossings(index)) {
    for (const id of new Set(sources)) {
      const known = found.get(id) ?? [];
      // A route of several services crosses a limit at each of them.
      if (!known.some((each) => each.message === message))
        known.push(condition("Surprising", "True", "AttemptTimeUnused", message));
      found.set(id, known);
    }
  }
  return found;
}

interface Crossing {
  readonly message: string;
  readonly sources: readonly string[];
}

function* crossings(index: MeshIndex): Generator<Crossing> {
  for (const [key, routes] of index.attached)
    for (const { route, id } of routes)
      for (const [at, rule] of rulesOf(route).entries()) {
        const policies = policiesForRule(index, key, route, rule.name);
        const { timeoutMs, attemptTimeoutMs, limitSources } = compileLimits(rule, policies, id);
        if (timeoutMs === undefined || attemptTimeoutMs === undefined || attemptTimeoutMs < timeoutMs)
          continue;
        const { request = id, attempt = id } = limitSources ?? {};
        if (request === attempt) continue;
        const where = `rule ${rule.name ?? `#${at}`} of ${id}`;
        const message = `${where}: the request ends after ${formatDuration(timeoutMs)} (${request}), before an attempt could be cut after ${formatDuration(attemptTimeoutMs)} (${attempt})`;
        yield { message, sources: [id, request, attempt] };
      }
}
