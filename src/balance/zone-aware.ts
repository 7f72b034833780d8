import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import type { Hash64 } from "../stack/xx-hash64.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import { keyShare } from "./hashed-place.js";
import { countOpen, recountMs } from "./open-share.js";
import { isPanic } from "./panic.js";
import { localPercent } from "./zone-split.js";

/** Picks by the zone of the endpoint. */
export interface ZonePicks {
  readonly own: Counter;
  readonly other: Counter;
}

export interface ZoneAwareOptions<E extends Endpoint> {
  /** The caller's own zone; not "". */
  readonly zone: string;
  readonly spilloverPercent: number;
  readonly panicThresholdPercent: number;
  /** Instances that the registry has and does not hold usable, by zone: they count as missing. */
  readonly down: ReadonlyMap<string, number>;
  /** Makes the cluster's picker over a part of its endpoints. */
  readonly build: (endpoints: readonly E[], panicThresholdPercent: number) => Picker<E>;
  readonly picks: ZonePicks;
  readonly random: Clock["random"];
}

/**
 * Own zone first: of each pick it decides whether it stays in the zone, and leaves the choice there to the cluster's own
 * picker. The others share what spills over as that picker likes, so in proportion to their endpoints.
 */
export function zoneAware<E extends Endpoint>(
  endpoints: readonly E[],
  options: ZoneAwareOptions<E>,
): Picker<E> {
  const { zone, build, panicThresholdPercent } = options;
  const own = endpoints.filter(({ config }) => config.zone === zone);
  const others = endpoints.filter(({ config }) => config.zone !== zone);
  // While the cluster as a whole is not in panic, a zone is not either: the other one has what it lacks.
  const pickers = {
    own: build(own, 0),
    others: build(others, 0),
    all: build(endpoints, panicThresholdPercent),
  };
  return new ZoneAware(options, { own, others }, pickers);
}

interface Parts<T> {
  readonly own: T;
  readonly others: T;
}

class ZoneAware<E extends Endpoint> implements Picker<E> {
  readonly #options: ZoneAwareOptions<E>;
  readonly #endpoints: Parts<readonly E[]>;
  readonly #pickers: Parts<Picker<E>> & { readonly all: Picker<E> };
  readonly #down: Parts<number>;
  #recountAtMs = -Infinity;
  #localPercent = 100;
  #isPanic = false;

  constructor(
    options: ZoneAwareOptions<E>,
    endpoints: Parts<readonly E[]>,
    pickers: Parts<Picker<E>> & { readonly all: Picker<E> },
  ) {
    this.#options = options;
    this.#endpoints = endpoints;
    this.#pickers = pickers;
    const own = options.down.get(options.zone) ?? 0;
    let all = 0;
    for (const count of options.down.values()) all += count;
    this.#down = { own, others: all - own };
  }

  pick(tried: readonly Upstream[], nowMs: number, key?: Hash64): E | undefined {
    if (nowMs >= this.#recountAtMs) this.#recount(nowMs);
    const picked = this.#isPanic
      ? this.#pickers.all.pick(tried, nowMs, key)
      : this.#pickZone(tried, nowMs, key);
    if (picked === undefined) return undefined;
    const { zone, picks } = this.#options;
    (picked.config.zone === zone ? picks.own : picks.other).value++;
    return picked;
  }

  #pickZone(tried: readonly Upstream[], nowMs: number, key: Hash64 | undefined): E | undefined {
    const { own, others, all } = this.#pickers;
    const staysHere = this.#localPercent >= 100 || this.#chance(key) * 100 < this.#localPercent;
    const first = (staysHere ? own : others).pick(tried, nowMs, key);
    if (first !== undefined && (tried.length === 0 || !tried.includes(first))) return first;
    // A retry goes elsewhere rather than to the same endpoint again.
    const second = (staysHere ? others : own).pick(tried, nowMs, key);
    if (second !== undefined && !tried.includes(second)) return second;
    return first ?? second ?? all.pick(tried, nowMs, key);
  }

  /** Requests of one key stay together also where only a part of them stays here. */
  #chance(key: Hash64 | undefined): number {
    return key === undefined ? this.#options.random() : keyShare(key);
  }

  #recount(nowMs: number): void {
    this.#recountAtMs = nowMs + recountMs;
    const { spilloverPercent, panicThresholdPercent } = this.#options;
    const { own, others } = this.#endpoints;
    const [ownOpen, othersOpen] = [countOpen(own, nowMs), countOpen(others, nowMs)];
    this.#isPanic = isPanic(ownOpen + othersOpen, own.length + others.length, panicThresholdPercent);
    this.#localPercent = localPercent(
      { open: ownOpen, total: own.length + this.#down.own },
      { open: othersOpen, total: others.length + this.#down.others },
      spilloverPercent,
    );
  }
}
