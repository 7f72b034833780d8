/**
 * Consul as the registry: one long poll on the list of services, two on each service. What was read stays through every
 * failure; only a leader's word takes instances away.
 */
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import { startBlockingQuery } from "../../src/consul/blocking-query.js";
import type { Catalog, CatalogService, CatalogState, StaleSince } from "./catalog.js";
import type { Judgement, Trust } from "./consul-doubt.js";
import { assertUnlisted, DoubtfulAnswer, freshTrust, judge } from "./consul-doubt.js";
import type { RefuseAddress } from "./consul-health.js";
import { isMeshService, readServiceNames } from "./consul-health.js";
import type { ConsulAnswer, ConsulGet, ConsulHttpOptions } from "../../src/consul/consul-http.js";
import { createConsulHttp, plainConnections } from "../../src/consul/consul-http.js";
import type { ServiceWatch, ServiceWatchOptions } from "./consul-service.js";
import { watchService } from "./consul-service.js";

export interface ConsulCatalogOptions extends ConsulHttpOptions {
  readonly log: CatalogLog;
  /** Which services the mesh takes from Consul; default all but Consul itself and the sidecars' own registrations. */
  readonly services?: (name: string) => boolean;
  /**
   * Connections to the agent that may be held open (160): it allows 200 per client address unless
   * limits.http_max_conns_per_client is raised. Services beyond them are polled.
   */
  readonly maxConnections?: number;
  /** Addresses that no instance may have, for example the control plane's own admin listener. */
  readonly refuse?: RefuseAddress;
}

/** What pino's logger has. */
export interface CatalogLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

const maxServices = 5000;
const namespace = "default";
/** The list of services is the probe for a dead agent: once it answers, everything else tries at once. */
const listingBackoffMs = 500;
/** Connections to the agent that the own datacenter may hold: see ConsulCatalogOptions. */
const defaultConnections = 160;
const maxPollsPerSecond = 200;
/** Polled services must be right within a second too, as long as they are few. */
const minPollMs = 500;

/**
 * Starts reading at once; `state` stays undefined until every listed service was tried. An agent that cannot be reached
 * is logged and tried again for ever.
 *
 * @throws ConfigError when the URL or the CA file cannot be used.
 */
export function createConsulCatalog(options: ConsulCatalogOptions): Catalog {
  const http = createConsulHttp(options);
  const { clock, log, services, refuse, maxConnections = defaultConnections } = options;
  const catalog = new ConsulCatalog({
    get: http.get,
    ...{ clock, log, minPollMs, maxBackoffMs: listingBackoffMs, isElsewhere: false },
    services: services ?? (() => true),
    connections: () => maxConnections,
    refuse: refuse ?? (() => undefined),
  });
  return {
    kind: "consul",
    state: catalog.state,
    close: async () => {
      catalog.close();
      http.close();
    },
  };
}

/** How one datacenter is read. */
export interface ReadingOptions extends Pick<ServiceWatchOptions, "get" | "clock" | "refuse"> {
  readonly log: CatalogLog;
  /** It is not the agent's own. */
  readonly isElsewhere: boolean;
  /** Asked anew after reselect(). */
  readonly services: (name: string) => boolean;
  /** Connections that may be held open; asked after each answer. */
  readonly connections: () => number;
  /** Services beyond them are read so often, or more seldom. */
  readonly minPollMs: number;
  /** Longest wait after a failure of the listing. */
  readonly maxBackoffMs: number;
}

export class ConsulCatalog {
  readonly state = new LatestValue<CatalogState | undefined>(undefined);
  /** Why it cannot be read; also before it was for the first time. */
  readonly problem = new LatestValue<StaleSince | undefined>(undefined);
  readonly #options: ReadingOptions;
  readonly #get: ConsulGet;
  readonly #clock: Clock;
  readonly #ended = new AbortController();
  /** Key: service name. */
  readonly #watches = new Map<string, ServiceWatch>();
  /** Key: path that cannot be read. */
  readonly #problems = new Map<string, string>();
  #trust: Trust = freshTrust;
  /** What is listed; undefined: not read yet. */
  #listed: ReadonlySet<string> | undefined;
  #isPublishing = false;
  #isOverCap = false;

  constructor(options: ReadingOptions) {
    this.#options = options;
    this.#get = options.get;
    this.#clock = options.clock;
    startBlockingQuery({
      get: options.get,
      path: listingPath,
      clock: options.clock,
      signal: this.#ended.signal,
      maxBackoffMs: options.maxBackoffMs,
      onAnswer: (answer) => this.#takeListing(answer),
      onError: (error) => this.#report(listingPath, error),
    });
  }

  close(): void {
    this.#ended.abort();
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }

  /** Other services are selected now. */
  reselect(): void {
    if (this.#listed !== undefined) this.#syncWatches(this.#listed);
  }

  /** All that is selected was read, or could not be. */
  isSettled(): boolean {
    if (this.problem.get() !== undefined) return true;
    return this.state.get() !== undefined && [...this.#watches.values()].every((watch) => watch.isSettled());
  }

  async #takeListing(answer: ConsulAnswer): Promise<void> {
    let names = namesOf(answer);
    // A name that is missing takes a whole service away: only the leader may say so.
    const isMissing = [...this.#watches.keys()].some((name) => !names.has(name));
    const judgement = isMissing ? await this.#askLeader() : this.#judge(answer);
    if (this.#ended.signal.aborted) return;
    if (isMissing) names = judgement.listed;
    const hadProblem = this.#problems.has(listingPath);
    this.#listed = new Set([...names, ...judgement.held]);
    this.#syncWatches(this.#listed);
    // The agent answers: reads that wait after a failure need not wait longer.
    if (hadProblem) for (const watch of this.#watches.values()) watch.retryNow();
    if (judgement.held.size > 0) throw new DoubtfulAnswer(judgement.reason);
    this.#report(listingPath, undefined);
  }

  async #askLeader(): Promise<Judgement & { readonly listed: ReadonlySet<string> }> {
    const read = { path: listingPath, consistency: "default", block: undefined } as const;
    return this.#judge(await this.#get({ ...read, signal: this.#ended.signal }));
  }

  #judge(answer: ConsulAnswer): Judgement & { readonly listed: ReadonlySet<string> } {
    const listed = namesOf(answer);
    const judgement = judge(this.#trust, {
      had: this.#watches.keys(),
      has: listed,
      index: answer.index,
      isFiltered: answer.isFiltered,
      nowMs: this.#clock.monotonicMs(),
    });
    this.#trust = judgement.trust;
    return { ...judgement, listed };
  }

  async #confirmUnlisted(service: string, names: ReadonlySet<string>): Promise<void> {
    const { listed, held, reason } = await this.#askLeader();
    if (held.has(service)) throw new DoubtfulAnswer(reason);
    assertUnlisted(names, listed);
  }

  #syncWatches(names: ReadonlySet<string>): void {
    const { services } = this.#options;
    const wanted = new Set([...names].filter((name) => isMeshService(name) && services(name)));
    for (const [name, watch] of this.#watches) {
      if (wanted.has(name)) continue;
      watch.close();
      this.#watches.delete(name);
      for (const path of this.#problems.keys()) if (path.endsWith(`/${name}`)) this.#report(path, undefined);
      this.#publishSoon();
    }
    for (const name of [...wanted].sort()) {
      if (this.#watches.size >= maxServices) break;
      if (!this.#watches.has(name)) this.#watches.set(name, this.#watch(name));
    }
    const isOverCap = wanted.size > this.#watches.size;
    if (isOverCap && !this.#isOverCap)
      this.#options.log.warn(
        { listed: wanted.size, watched: maxServices },
        "consul lists more services than the mesh takes: narrow them down",
      );
    this.#isOverCap = isOverCap;
    if (this.state.get() === undefined) this.#publishSoon();
  }

  #watch(name: string): ServiceWatch {
    return watchService({
      name,
      get: this.#get,
      clock: this.#clock,
      pollEveryMs: () => this.#pollEveryMs(name),
      refuse: this.#options.refuse,
      isElsewhere: this.#options.isElsewhere,
      confirmUnlisted: (names) => this.#confirmUnlisted(name, names),
      onChange: () => this.#publishSoon(),
      onProblem: (path, error) => this.#report(path, error),
      onRefused: (refused) => {
        if (refused.length > 0)
          this.#options.log.warn(
            { service: name, refused: refused.slice(0, 20), count: refused.length },
            "left instances out that consul has",
          );
      },
    });
  }

  /** undefined for the services that got connections of their own: the first ones to come. */
  #pollEveryMs(name: string): number | undefined {
    const { connections, minPollMs: leastMs } = this.#options;
    const held = Math.floor((connections() - 1 - plainConnections) / 2);
    let position = 0;
    for (const key of this.#watches.keys()) if (key === name || ++position >= held) break;
    if (position < held) return undefined;
    const polled = (this.#watches.size - held) * 2;
    return Math.max(leastMs, (polled * 1000) / maxPollsPerSecond);
  }

  #report(path: string, error: Error | undefined): void {
    if (this.#ended.signal.aborted) return;
    const { log } = this.#options;
    if (error === undefined) this.#problems.delete(path);
    else this.#problems.set(path, error.message);
    const [reason] = this.#problems.values();
    const before = this.problem.get();
    // One line when trouble begins and one when it ends, not one for each of thousands of reads.
    if (before === undefined && reason !== undefined)
      log.warn({ path, reason }, "cannot read consul: the last known endpoints stay");
    if (before !== undefined && reason === undefined) log.info({}, "consul can be read again");
    if (before?.reason !== reason) {
      const wallMs = before?.wallMs ?? this.#clock.wallMs();
      this.problem.set(reason === undefined ? undefined : { wallMs, reason });
    } else if (this.state.get() !== undefined) return;
    this.#publishSoon();
  }

  /** Many answers arrive in one turn, after an agent's restart for example: they make one new state. */
  #publishSoon(): void {
    if (this.#isPublishing) return;
    this.#isPublishing = true;
    setImmediate(() => {
      this.#isPublishing = false;
      if (!this.#ended.signal.aborted) this.#publish();
    });
  }

  #publish(): void {
    if (this.#listed === undefined) return;
    // A first state that lacks services would make routes to nowhere; later ones only add or keep.
    if (this.state.get() === undefined)
      for (const watch of this.#watches.values()) if (!watch.isSettled()) return;
    const services = new Map<string, CatalogService>();
    for (const [name, watch] of this.#watches) {
      const instances = watch.instances();
      if (instances !== undefined) services.set(`${name}.${namespace}`, { name, namespace, instances });
    }
    this.state.set({ services, staleSince: this.problem.get() });
  }
}

const listingPath = "/catalog/services";

function namesOf(answer: ConsulAnswer): ReadonlySet<string> {
  const names = readServiceNames(answer.body);
  if (names === undefined) throw new DoubtfulAnswer(`${listingPath}: the answer is not Consul's`);
  return names;
}
