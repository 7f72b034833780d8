/** What Consul's configuration entries say services speak; what was read stays through every failure. */
import { startBlockingQuery } from "../../src/consul/blocking-query.js";
import { createConsulHttp, ConsulReadError } from "../../src/consul/consul-http.js";
import type { ConsulAccess } from "../../src/config/consul-access.js";
import type { Protocol } from "../../src/config/snapshot.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { CatalogLog } from "./consul.js";

/** What services speak whose own registration does not say. */
export interface ConnectProtocols {
  readonly services: ReadonlyMap<string, Protocol>;
  /** Consul's own default is tcp. */
  readonly otherwise: Protocol;
}

export interface ConsulProtocols {
  /** undefined until both kinds of entries were read once. */
  readonly state: LatestValue<ConnectProtocols | undefined>;
  close(): void;
}

const paths = { services: "/config/service-defaults", proxies: "/config/proxy-defaults" } as const;
const maxBackoffMs = 2000;

export function watchConsulProtocols(options: {
  readonly agent: ConsulAccess;
  readonly clock: Clock;
  readonly log: CatalogLog;
}): ConsulProtocols {
  const { agent, clock, log } = options;
  const http = createConsulHttp({ ...agent, clock });
  const ended = new AbortController();
  const state = new LatestValue<ConnectProtocols | undefined>(undefined);
  const known: Partial<Record<keyof typeof paths, readonly unknown[]>> = {};
  const take = (kind: keyof typeof paths, entries: readonly unknown[]): void => {
    known[kind] = entries;
    const { services, proxies } = known;
    if (services === undefined || proxies === undefined) return;
    const next = readProtocols(services, proxies);
    if (isSame(state.get(), next)) return;
    state.set(next);
  };
  for (const kind of ["services", "proxies"] as const) {
    let isTold = false;
    startBlockingQuery({
      get: http.get,
      path: paths[kind],
      clock,
      signal: ended.signal,
      maxBackoffMs,
      onAnswer: ({ body }) => {
        if (!Array.isArray(body)) throw new Error(`${paths[kind]}: the answer is not Consul's`);
        isTold = false;
        take(kind, body);
      },
      onError: (error) => {
        // A token without the right to see them, or no such entries: nobody says.
        const isSilent = error instanceof ConsulReadError && (error.status === 403 || error.status === 404);
        if (isSilent && known[kind] === undefined) take(kind, []);
        if (!isTold) log.warn({ reason: error.message }, "cannot read what consul's services speak");
        isTold = true;
      },
    });
  }
  return {
    state,
    close: () => {
      ended.abort();
      http.close();
    },
  };
}

/** Entries that are none are passed over. */
export function readProtocols(services: readonly unknown[], proxies: readonly unknown[]): ConnectProtocols {
  const found = new Map<string, Protocol>();
  for (const entry of services) {
    const { Name: name, Protocol: protocol } = record(entry);
    if (typeof name === "string" && typeof protocol === "string" && protocol !== "")
      found.set(name, protocolOf(protocol));
  }
  const config = proxies.map((entry) => record(record(entry)["Config"])["protocol"]);
  const [global] = config.filter((text) => typeof text === "string" && text !== "");
  return { services: found, otherwise: typeof global === "string" ? protocolOf(global) : "tcp" };
}

/** In any case, as Consul takes it. Whatever else it is, bytes can be carried. */
function protocolOf(text: string): Protocol {
  const lower = text.toLowerCase();
  return (["http", "http2", "grpc"] as const).find((known) => known === lower) ?? "tcp";
}

function isSame(one: ConnectProtocols | undefined, other: ConnectProtocols): boolean {
  if (one === undefined) return false;
  const text = ({ services, otherwise }: ConnectProtocols): string =>
    JSON.stringify([[...services].sort(), otherwise]);
  return text(one) === text(other);
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
