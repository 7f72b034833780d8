import type { Clock, Timer } from "../../src/time/clock.js";
import { sleep } from "../../src/time/clock.js";
import { startBlockingQuery } from "../../src/consul/blocking-query.js";
import type { Instance } from "./catalog.js";
import type { Trust } from "./consul-doubt.js";
import { DoubtfulAnswer, freshTrust, isSuspiciousDrop, judge } from "./consul-doubt.js";
import type { HealthEntry, MergedInstances, RefuseAddress } from "./consul-health.js";
import { mergeInstances, readHealthEntries } from "./consul-health.js";
import type { Bridged } from "./consul-unproven.js";
import { bridgeUnproven, entryKey, nothingBridged, unprovenHoldMs } from "./consul-unproven.js";
import type { ConsulAnswer, ConsulGet } from "../../src/consul/consul-http.js";

export interface ServiceWatchOptions {
  readonly name: string;
  readonly get: ConsulGet;
  readonly clock: Clock;
  readonly pollEveryMs: () => number | undefined;
  readonly refuse: RefuseAddress;
  /** It is in another datacenter than the agent. */
  readonly isElsewhere?: boolean;
  /** Resolves when the leader confirms that no service of these names is registered; throws when it is not so. */
  readonly confirmUnlisted: (names: ReadonlySet<string>) => Promise<void>;
  /** The instances changed. */
  readonly onChange: () => void;
  /** One of the two reads failed (undefined: works again); `path` tells which. */
  readonly onProblem: (path: string, error: Error | undefined) => void;
  /** Registrations that are left out, with the reason; called when they change. */
  readonly onRefused: (refused: readonly string[]) => void;
}

/** The instances of one service and the sidecars beside them, kept current by two long polls. */
export interface ServiceWatch {
  /** undefined until both were read once. */
  instances(): readonly Instance[] | undefined;
  /** Both were tried at least once. */
  isSettled(): boolean;
  retryNow(): void;
  close(): void;
}

/** Between an answer that lost most instances and the second read that confirms it. */
const confirmAfterMs = 200;

/** Starts at once; ends with close(). */
export function watchService(options: ServiceWatchOptions): ServiceWatch {
  const { clock } = options;
  const ended = new AbortController();
  const known = { service: undefined, connect: undefined } as Record<Kind, Known | undefined>;
  const tried = new Set<Kind>();
  let merged: MergedInstances | undefined;

  const take = (kind: Kind, entries: readonly HealthEntry[]): void => {
    tried.add(kind);
    const bridged = bridgeUnproven(entries, known[kind]?.bridged ?? nothingBridged, clock.monotonicMs());
    known[kind]?.again?.cancel();
    // Nothing may change any more in Consul, yet the bridge must end.
    const again =
      bridged.since.size === 0 ? undefined : clock.timer(unprovenHoldMs, () => take(kind, entries));
    known[kind] = { entries, bridged, again };
    if (known.service === undefined || known.connect === undefined) return;
    const before = merged;
    merged = mergeInstances(
      options.name,
      known.service.bridged.entries,
      known.connect.bridged.entries,
      options.refuse,
    );
    if (!isSame(before?.refused ?? [], merged.refused)) options.onRefused(merged.refused);
    // Long polls also return without a change, and indexes move with things that do not concern us.
    if (before === undefined || !isSame(before.instances, merged.instances)) options.onChange();
  };

  const watch = (kind: Kind): { retryNow(): void } => {
    const path = `/health/${kind}/${encodeURIComponent(options.name)}`;
    let trust: Trust = freshTrust;
    const entriesOf = ({ body }: ConsulAnswer): readonly HealthEntry[] => {
      const entries = readHealthEntries(body, options.isElsewhere);
      if (entries === undefined) throw new DoubtfulAnswer(`${path}: the answer is not Consul's`);
      return entries;
    };
    const reread = async (): Promise<ConsulAnswer> => {
      await sleep(clock, confirmAfterMs, ended.signal);
      return options.get({ path, consistency: "default", block: undefined, signal: ended.signal });
    };
    return startBlockingQuery({
      get: options.get,
      path,
      clock,
      signal: ended.signal,
      pollEveryMs: options.pollEveryMs,
      onAnswer: async (first) => {
        let answer = first;
        const before = known[kind]?.entries ?? [];
        const count = entriesOf(answer).length;
        if (isSuspiciousDrop(before.length, count) && count > 0) answer = await reread();
        const entries = entriesOf(answer);
        if (isSuspiciousDrop(before.length, entries.length) && entries.length === 0)
          await options.confirmUnlisted(new Set(before.map((entry) => entry.name)));
        if (ended.signal.aborted) return;
        const judged =
          entries.length === 0
            ? { trust: freshTrust, held: new Set<string>(), reason: "" }
            : judge(trust, {
                had: before.map(entryKey),
                has: new Set(entries.map(entryKey)),
                index: answer.index,
                isFiltered: answer.isFiltered,
                nowMs: clock.monotonicMs(),
              });
        trust = judged.trust;
        take(kind, [...entries, ...before.filter((entry) => judged.held.has(entryKey(entry)))]);
        // Read again soon: the time for which losses are held back must end although nothing changes any more.
        if (judged.held.size > 0) throw new DoubtfulAnswer(judged.reason);
        options.onProblem(path, undefined);
      },
      onError: (error) => {
        tried.add(kind);
        options.onProblem(path, error);
      },
    });
  };

  const queries = [watch("service"), watch("connect")];
  return {
    instances: () => merged?.instances,
    isSettled: () => tried.size === 2,
    retryNow: () => queries.forEach((query) => query.retryNow()),
    close: () => {
      ended.abort();
      known.service?.again?.cancel();
      known.connect?.again?.cancel();
    },
  };
}

type Kind = "service" | "connect";

interface Known {
  /** As Consul has them. */
  readonly entries: readonly HealthEntry[];
  readonly bridged: Bridged;
  readonly again: Timer | undefined;
}

/** Plain data on both sides, built in one place: the same content has the same text. */
function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
