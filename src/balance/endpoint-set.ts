import type { ClusterConfig, EndpointConfig, MtlsMode } from "../config/snapshot.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Upstream } from "../stack/upstream.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import { countOpen, OpenShare } from "./open-share.js";
import { makePicker } from "./picker.js";
import { nextUsable, openGate, untried } from "./usable.js";
import { zoneAware, type ZonePicks } from "./zone-aware.js";

export interface EndpointSetOptions<E extends Endpoint> {
  /** Makes the endpoint of an address that is new to the cluster. `key` is its identity over updates. */
  create(key: string, config: EndpointConfig): E;
  readonly clock: Pick<Clock, "random" | "monotonicMs">;
  /** Counts picks that ignored ejection. Asked for when a picker is made. */
  readonly panics: Counter;
  /** The caller's own zone; absent or "": not known, and zones do not matter. */
  readonly zone?: string;
  /** Asked where the own zone goes first. */
  readonly zonePicks?: () => ZonePicks;
}

/** What of a cluster's configuration bears on the choice of endpoints. */
export type BalanceConfig = Pick<ClusterConfig, "loadBalancer" | "locality" | "mtlsMode">;

/** What makes two endpoint configurations the same endpoint. */
export function endpointKey(config: EndpointConfig): string {
  return `${config.address}:${config.port}:${config.meshed ? "meshed" : "plain"}`;
}

/**
 * The endpoints of one cluster and the picker over them. An address that stays keeps its Endpoint object, so its
 * connections, average and breaker outlive any number of updates. Owns the endpoints: retires those that leave.
 */
export class EndpointSet<E extends Endpoint> {
  readonly #options: EndpointSetOptions<E>;
  #balance: BalanceConfig;
  #endpoints: readonly E[] = [];
  readonly #openShare = new OpenShare();
  #balanced: readonly E[] = [];
  /** Keys of endpoints that an operator has taken out. */
  #isolated: ReadonlySet<string> = new Set();
  #refused = 0;
  /** Instances that are down, by zone. */
  #down: ReadonlyMap<string, number> = new Map();
  /** Made by the first pick. */
  #picker: Picker<E> | undefined;

  constructor(balance: BalanceConfig, options: EndpointSetOptions<E>) {
    this.#options = options;
    this.#balance = balance;
  }

  /** Replaced as a whole by each update; the array is never changed. */
  get endpoints(): readonly E[] {
    return this.#endpoints;
  }

  /** Those that the picker chooses from: all but the isolated ones. */
  get balanced(): readonly E[] {
    return this.#balanced;
  }

  get picker(): Picker<E> {
    return (this.#picker ??= this.#buildPicker());
  }

  /** Instances left out because they have no sidecar and the mode is STRICT. */
  get refused(): number {
    return this.#refused;
  }

  get mtlsMode(): MtlsMode {
    return this.#balance.mtlsMode;
  }

  get total(): number {
    return this.#endpoints.length;
  }

  /** Endpoints that may get traffic now. */
  healthy(nowMs: number): number {
    return countOpen(this.#endpoints, nowMs);
  }

  /** The share of endpoints that may get traffic now, 0 to 100, as of at most 100 ms ago; instances that are down count. */
  usablePercent(nowMs: number): number {
    let missing = 0;
    for (const count of this.#down.values()) missing += count;
    missing += this.#endpoints.length - this.#balanced.length;
    return this.#openShare.percent(this.#balanced, missing, nowMs);
  }

  /** Is there an endpoint that may get traffic now and is not among `tried`? */
  hasUsable(tried: readonly Upstream[], nowMs: number): boolean {
    return nextUsable(this.#balanced, 0, openGate | untried, tried, nowMs) >= 0;
  }

  /** Takes the newest state of the cluster. True when the choice of endpoints changed. */
  update(configs: readonly EndpointConfig[], balance: BalanceConfig = this.#balance): boolean {
    const leaving = new Map(this.#endpoints.map((endpoint) => [endpoint.key, endpoint]));
    const next = new Map<string, E>();
    const down = new Map<string, number>();
    let refused = 0;
    let isChanged = !sameBalance(this.#balance, balance);
    for (const config of configs) {
      if (config.isDown === true) {
        down.set(config.zone, (down.get(config.zone) ?? 0) + 1);
        continue;
      }
      if (balance.mtlsMode === "STRICT" && !config.meshed) {
        refused++;
        continue;
      }
      const key = endpointKey(config);
      // An address registered twice is one endpoint: the first entry counts.
      if (next.has(key)) continue;
      const known = leaving.get(key);
      if (known === undefined) {
        isChanged = true;
        next.set(key, this.#make(key, config));
        continue;
      }
      leaving.delete(key);
      isChanged ||= known.config.weight !== config.weight || known.config.zone !== config.zone;
      known.config = config;
      next.set(key, known);
    }
    this.#balance = balance;
    this.#refused = refused;
    isChanged ||= leaving.size > 0 || !sameCounts(this.#down, down);
    this.#down = down;
    if (!isChanged) return false;
    this.#endpoints = [...next.values()];
    this.#rebalance();
    // Last: whatever a transport does when it retires, nobody can pick it any more.
    for (const endpoint of leaving.values()) endpoint.transport.retire();
    return true;
  }

  /**
   * Takes the endpoints with these keys out of the balancing, and nobody else. They keep their place in the set, and
   * neither panic nor anything else brings traffic to them.
   */
  isolate(keys: ReadonlySet<string>): void {
    this.#isolated = keys;
    this.#rebalance();
  }

  /** The cluster is gone: running requests finish, and what they still retry finds an endpoint. */
  retire(): void {
    for (const endpoint of this.#endpoints) endpoint.transport.retire();
  }

  /** Closes every connection now. */
  close(): void {
    const endpoints = this.#endpoints;
    this.update([]);
    for (const endpoint of endpoints) endpoint.transport.close();
  }

  /** An endpoint that joins others warms up beside them; those that come first are all alike. */
  #make(key: string, config: EndpointConfig): E {
    const made = this.#options.create(key, config);
    if (this.#endpoints.length > 0) made.warmingSinceMs = this.#options.clock.monotonicMs();
    return made;
  }

  #rebalance(): void {
    const isolated = this.#isolated;
    this.#balanced =
      isolated.size === 0 ? this.#endpoints : this.#endpoints.filter(({ key }) => !isolated.has(key));
    this.#picker = undefined;
  }

  #buildPicker(): Picker<E> {
    const { loadBalancer, locality } = this.#balance;
    const { panics, clock, zone = "", zonePicks } = this.#options;
    const { panicThresholdPercent } = loadBalancer;
    const random = (): number => clock.random();
    const build = (endpoints: readonly E[], thresholdPercent: number): Picker<E> =>
      makePicker(endpoints, { loadBalancer, panic: { thresholdPercent, panics }, random });
    if (locality === undefined || zone === "" || zonePicks === undefined)
      return build(this.#balanced, panicThresholdPercent);
    const { spilloverPercent } = locality;
    const limits = { zone, spilloverPercent, panicThresholdPercent, down: this.#down };
    return zoneAware(this.#balanced, { ...limits, build, picks: zonePicks(), random });
  }
}

function sameBalance(a: BalanceConfig, b: BalanceConfig): boolean {
  return (
    a.mtlsMode === b.mtlsMode &&
    a.locality?.spilloverPercent === b.locality?.spilloverPercent &&
    JSON.stringify(a.loadBalancer) === JSON.stringify(b.loadBalancer)
  );
}

function sameCounts(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  return a.size === b.size && [...a].every(([zone, count]) => b.get(zone) === count);
}
