import type { HealthEntry } from "./consul-health.js";

/** Longer than the usual check interval (10 s), short enough for an instance that died while its agent was away. */
export const unprovenHoldMs = 15_000;

export interface Bridged {
  readonly entries: readonly HealthEntry[];
  /** Key: entryKey. Value: since when the entry keeps a status that no check has confirmed, monotonic milliseconds. */
  readonly since: ReadonlyMap<string, number>;
}

export const nothingBridged: Bridged = { entries: [], since: new Map() };

/**
 * A restarted agent reports each of its checks critical until it ran once, so that one restart would take every instance
 * of the machine out of traffic. An instance that was routable stays so while nothing but such checks speaks against it,
 * for 15 s at most. A new instance waits for its checks, as Consul means it.
 */
export function bridgeUnproven(
  entries: readonly HealthEntry[],
  before: Bridged,
  nowMs: number,
  holdMs = unprovenHoldMs,
): Bridged {
  const known = new Map(before.entries.map((entry) => [entryKey(entry), entry.ownStatus]));
  const since = new Map<string, number>();
  const bridged = entries.map((entry) => {
    const key = entryKey(entry);
    const last = known.get(key);
    const sinceMs = before.since.get(key) ?? nowMs;
    if (!entry.isUnproven || (last !== "passing" && last !== "warning") || nowMs - sinceMs >= holdMs)
      return entry;
    since.set(key, sinceMs);
    return { ...entry, status: entry.provenStatus, ownStatus: entry.provenStatus };
  });
  return { entries: bridged, since };
}

/** Unique in one answer: service ids are unique per agent. */
export function entryKey(entry: HealthEntry): string {
  return `${entry.node}/${entry.id}`;
}
