import type { ObservedCall } from "../../src/policy/call-recorder.js";
import { other } from "../../src/traffic/path-shape.js";

/** Calls of one service that nothing tells apart, with the times of the reports that they came in. */
export interface SeenCall extends ObservedCall {
  /** Unix milliseconds. */
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
}

export interface ServiceName {
  readonly service: string;
  readonly namespace: string;
}

/** What is known of the calls of one service. */
export interface ServiceCalls extends ServiceName {
  /** When its sidecars began to report. Unix milliseconds. */
  readonly sinceMs: number;
  readonly lastReportMs: number;
  /** Calls that there was no place for. */
  readonly lost: number;
  readonly calls: readonly SeenCall[];
}

/** Of one control plane; the last three of one service. */
export const tableLimits = {
  services: 2000,
  total: 100_000,
  calls: 2000,
  shapes: 200,
  callers: 500,
} as const;

/** What nobody has called for so long, nobody misses when a policy refuses it. */
export const retentionMs = 30 * 86_400_000;

interface Entry extends ServiceName {
  sinceMs: number;
  lastReportMs: number;
  lost: number;
  /** Key: everything of a call but its count and times. */
  readonly calls: Map<string, { call: SeenCall }>;
  readonly shapes: Set<string>;
  readonly callers: Set<string>;
}

/** All that sidecars have reported, within a bound; what there is no place for is counted. */
export class CallTable {
  /** Key: `<namespace>/<service>`. */
  readonly #entries = new Map<string, Entry>();
  #total = 0;

  /** Puts back what was kept over a restart. */
  restore(known: ServiceCalls): void {
    const entry = this.#entryOf(known, known.sinceMs);
    if (entry === undefined) return;
    entry.lastReportMs = known.lastReportMs;
    entry.lost = known.lost;
    for (const call of known.calls) this.#add(entry, call);
  }

  /** @returns how many calls there was no place for. */
  report(who: ServiceName, calls: readonly ObservedCall[], lost: number, nowMs: number): number {
    const entry = this.#entryOf(who, nowMs);
    if (entry === undefined) return calls.reduce((sum, { count }) => sum + count, 0);
    const before = entry.lost;
    entry.lastReportMs = nowMs;
    for (const call of calls) this.#add(entry, { ...call, firstSeenMs: nowMs, lastSeenMs: nowMs });
    const own = entry.lost - before;
    entry.lost += lost;
    return own;
  }

  /** By namespace, then name; the calls as they first came. */
  services(): readonly ServiceCalls[] {
    const sorted = [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
    return sorted.map(([, entry]) => viewOf(entry));
  }

  of({ service, namespace }: ServiceName): ServiceCalls | undefined {
    const entry = this.#entries.get(`${namespace}/${service}`);
    return entry === undefined ? undefined : viewOf(entry);
  }

  /** Forgets what was not called for `retentionMs`. @returns services of which something, or all, was forgotten. */
  expire(nowMs: number): readonly ServiceName[] {
    const changed: ServiceName[] = [];
    for (const [key, entry] of this.#entries) {
      const before = entry.calls.size;
      for (const [id, { call }] of entry.calls)
        if (nowMs - call.lastSeenMs > retentionMs) entry.calls.delete(id);
      this.#total -= before - entry.calls.size;
      const isGone = entry.calls.size === 0 && nowMs - entry.lastReportMs > retentionMs;
      if (isGone) this.#entries.delete(key);
      if (isGone || entry.calls.size < before) changed.push(entry);
      if (entry.calls.size < before) recount(entry);
    }
    return changed;
  }

  #entryOf({ service, namespace }: ServiceName, nowMs: number): Entry | undefined {
    const key = `${namespace}/${service}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      if (this.#entries.size >= tableLimits.services) return undefined;
      const own = { calls: new Map(), shapes: new Set<string>(), callers: new Set<string>() };
      entry = { service, namespace, sinceMs: nowMs, lastReportMs: nowMs, lost: 0, ...own };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #add(entry: Entry, reported: SeenCall): void {
    const path = within(entry.shapes, reported.path, tableLimits.shapes);
    const caller = within(entry.callers, reported.caller, tableLimits.callers);
    const { method, port, protocol, verdict, rule } = reported;
    const key = JSON.stringify([caller, method, path, port, protocol, verdict, rule]);
    const known = entry.calls.get(key);
    if (known !== undefined) {
      const { call } = known;
      known.call = {
        ...call,
        count: call.count + reported.count,
        lastSeenMs: Math.max(call.lastSeenMs, reported.lastSeenMs),
      };
    } else if (entry.calls.size >= tableLimits.calls || this.#total >= tableLimits.total) {
      entry.lost += reported.count;
    } else {
      this.#total++;
      entry.shapes.add(path);
      entry.callers.add(caller);
      entry.calls.set(key, { call: { ...reported, path, caller } });
    }
  }
}

function within(known: ReadonlySet<string>, text: string, limit: number): string {
  return known.has(text) || known.size < limit ? text : other;
}

function recount({ calls, shapes, callers }: Entry): void {
  shapes.clear();
  callers.clear();
  for (const { call } of calls.values()) {
    shapes.add(call.path);
    callers.add(call.caller);
  }
}

function viewOf({ service, namespace, sinceMs, lastReportMs, lost, calls }: Entry): ServiceCalls {
  const seen = [...calls.values()].map(({ call }) => call);
  return { service, namespace, sinceMs, lastReportMs, lost, calls: seen };
}
