/**
 * Consul's other datacenters, for policies that fail over to them: each is a catalog of its own, read through the same agent
 * for as long as a policy names it, and only the services that are named there.
 */
import {
  createConsulHttp,
  plainConnections,
  type ConsulGet,
  type ConsulHttp,
} from "../../src/consul/consul-http.js";
import { startBlockingQuery } from "../../src/consul/blocking-query.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import type { StoredDocument } from "../policy-store/stored-document.js";
import type { ConsulSettings } from "../settings.js";
import type { CatalogState } from "./catalog.js";
import { ConsulCatalog, type CatalogLog } from "./consul.js";
import type { RefuseAddress } from "./consul-health.js";
import type { KnownDatacenters } from "./known-datacenters.js";
import type { OtherDatacenter, OtherDatacenters } from "./other-datacenters.js";
import { wantedDatacenters } from "./wanted-datacenters.js";

export interface ConsulDatacenters {
  /** undefined until every datacenter that was named at the start was read, or could not be. */
  readonly state: LatestValue<OtherDatacenters | undefined>;
  /** What is named by now was read, or cannot be, or that takes too long to wait for. */
  settled(): Promise<void>;
  close(): void;
}

/** One control plane reads so many; those beyond them are not read. */
export const maxDatacenters = 8;
/** Beside those for the own datacenter, of the 200 that an agent allows. */
const maxConnections = 24;
/** Those of services without a connection of their own are read so often: they are far away, and stand in only. */
const pollMs = 2000;
/** A name that is wrong stays so, and the agent writes a line for each question. */
const maxBackoffMs = 5000;
/** Documents that are replaced in two steps, or a moment before sidecars hear of it, must not take endpoints away. */
const lingerMs = 10_000;
const settleMs = 3000;
const serversPath = "/health/service/consul";

interface Opened {
  /** Only grows: what nobody wants any more goes with the next pruning. */
  names: ReadonlySet<string>;
  readonly catalog: ConsulCatalog;
}

/** @throws ConfigError when the agent's URL or CA file cannot be used. */
export function watchConsulDatacenters(options: {
  readonly agent: ConsulSettings;
  /** Default: to that agent. */
  readonly http?: ConsulHttp;
  readonly documents: LatestValue<readonly StoredDocument[]>;
  /** What there was before the start: in force until a datacenter is read. */
  readonly known?: KnownDatacenters;
  readonly clock: Clock;
  readonly log: CatalogLog;
  readonly refuse: RefuseAddress;
}): ConsulDatacenters {
  const { agent, documents, clock, log, refuse } = options;
  const http = options.http ?? createConsulHttp({ ...agent, datacenter: undefined, clock });
  const state = new LatestValue<OtherDatacenters | undefined>(undefined);
  /** Key: name. */
  const opened = new Map<string, Opened>();
  const ended = new AbortController();
  let own: { readonly name: string | undefined } | undefined =
    agent.datacenter === undefined ? undefined : { name: agent.datacenter };
  let isAsked = false;
  let isOver = false;
  let pruning: Timer | undefined;

  const isSettled = (): boolean => {
    if (own === undefined) return wantedDatacenters(documents.get()).size === 0;
    return [...opened.values()].every(({ catalog }) => catalog.isSettled());
  };
  const publish = (): void => {
    if (ended.signal.aborted || (state.get() === undefined && !isSettled())) return;
    const others = [...opened].map(
      ([name, entry]) => [name, viewOf(entry, options.known?.get(name))] as const,
    );
    state.set({ own: own?.name, others: new Map(others) });
  };
  const open = (name: string, names: ReadonlySet<string>): Opened => {
    const entry: Opened = {
      names,
      catalog: new ConsulCatalog({
        get: inDatacenter(http.get, name),
        clock,
        log: logFor(log, name),
        refuse,
        services: (service) => entry.names.has(service),
        connections: () => Math.floor(maxConnections / opened.size) + plainConnections,
        minPollMs: pollMs,
        maxBackoffMs,
        isElsewhere: true,
      }),
    };
    entry.catalog.state.watch(publish);
    entry.catalog.problem.watch(publish);
    return entry;
  };
  const sync = (): void => {
    const wanted = wantedDatacenters(documents.get());
    if (own === undefined) {
      if (wanted.size > 0) askOwn();
      return publish();
    }
    const isOverNow = [...wanted.keys()].filter((name) => name !== own?.name).length > maxDatacenters;
    if (isOverNow && !isOver)
      log.warn({ named: wanted.size, read: maxDatacenters }, "policies name more datacenters than are read");
    isOver = isOverNow;
    for (const [name, names] of [...wanted].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const known = opened.get(name);
      if (known !== undefined) {
        known.names = new Set([...known.names, ...names]);
        known.catalog.reselect();
      } else if (name !== own.name && opened.size < maxDatacenters) opened.set(name, open(name, names));
    }
    const isSurplus = [...opened].some(([name, { names }]) => names.size > (wanted.get(name)?.size ?? -1));
    if (isSurplus) pruning ??= clock.timer(lingerMs, prune);
    publish();
  };
  const prune = (): void => {
    pruning = undefined;
    const wanted = wantedDatacenters(documents.get());
    for (const [name, entry] of opened) {
      const names = wanted.get(name);
      if (names === undefined) {
        entry.catalog.close();
        opened.delete(name);
      } else {
        entry.names = names;
        entry.catalog.reselect();
      }
    }
    // There is room now for those that there were too many of.
    sync();
  };
  /** Policies may be the same in all datacenters, so they may name their own, which is not another one. */
  const askOwn = (): void => {
    if (isAsked) return;
    isAsked = true;
    const asking = new AbortController();
    ended.signal.addEventListener("abort", () => asking.abort(), { once: true });
    startBlockingQuery({
      get: http.get,
      path: serversPath,
      clock,
      signal: asking.signal,
      onAnswer: ({ body }) => {
        asking.abort();
        own = { name: datacenterOf(body) };
        sync();
      },
      // The catalog of the own datacenter cannot be read then either, and says so.
      onError: () => undefined,
    });
  };

  const stop = documents.watch(sync);
  sync();
  return {
    state,
    settled: async () => {
      if (isSettled()) return;
      const late = new AbortController();
      const timer = clock.timer(settleMs, () => late.abort());
      await state.until(isSettled, late.signal).catch(() => undefined);
      timer.cancel();
    },
    close: () => {
      stop();
      pruning?.cancel();
      ended.abort();
      for (const { catalog } of opened.values()) catalog.close();
      http.close();
    },
  };
}

function inDatacenter(get: ConsulGet, dc: string): ConsulGet {
  return (read) => get({ ...read, query: { ...read.query, dc } });
}

function logFor(log: CatalogLog, datacenter: string): CatalogLog {
  return {
    info: (fields, message) => log.info({ datacenter, ...fields }, message),
    warn: (fields, message) => log.warn({ datacenter, ...fields }, message),
  };
}

function viewOf({ names, catalog }: Opened, before: CatalogState["services"] | undefined): OtherDatacenter {
  const staleSince = catalog.problem.get();
  const known = catalog.state.get();
  if (known !== undefined) return { services: known.services, isRead: true, staleSince };
  const services = new Map([...(before ?? [])].filter(([, { name }]) => names.has(name)));
  return { services, isRead: before !== undefined, staleSince };
}

/** Where Consul's own servers are, of which each datacenter has some. */
function datacenterOf(body: unknown): string | undefined {
  const [first] = Array.isArray(body) ? (body as unknown[]) : [];
  const { Node: node } = Object(first) as { readonly Node?: unknown };
  const { Datacenter: name } = Object(node) as { readonly Datacenter?: unknown };
  return typeof name === "string" && name !== "" ? name : undefined;
}
