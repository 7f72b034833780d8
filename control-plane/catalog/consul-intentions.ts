/** Consul's intentions, followed by one long poll; what was read stays through every failure. */
import { startBlockingQuery } from "../../src/consul/blocking-query.js";
import { createConsulHttp, ConsulReadError, type ConsulGet } from "../../src/consul/consul-http.js";
import type { ConsulAccess } from "../../src/config/consul-access.js";
import type { Verdict } from "../../src/config/authorization-config.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { CatalogLog } from "./consul.js";
import { readIntentions, type Intention, type Intentions } from "./intention.js";

export interface ConsulIntentions {
  /** undefined until they were read once. */
  readonly state: LatestValue<Intentions | undefined>;
  close(): void;
}

const path = "/connect/intentions";
/** A service that nobody has: no intention but one about all services is about it. */
const nobody = "remora-intention-probe";
const maxBackoffMs = 2000;

export function watchConsulIntentions(options: {
  readonly agent: ConsulAccess;
  readonly clock: Clock;
  readonly log: CatalogLog;
}): ConsulIntentions {
  const { agent, clock, log } = options;
  const http = createConsulHttp({ ...agent, clock });
  const ended = new AbortController();
  const state = new LatestValue<Intentions | undefined>(undefined);
  let problem: string | undefined;
  startBlockingQuery({
    get: http.get,
    path,
    clock,
    signal: ended.signal,
    maxBackoffMs,
    onAnswer: async ({ body, isFiltered }) => {
      const list = readIntentions(body);
      if (list === undefined) throw new Error(`${path}: the answer is not Consul's`);
      // A denial that is not seen would let somebody through.
      if (isFiltered) throw new Error(`the token does not see all intentions: ${neededRights}`);
      const otherwise = await readDefault(http.get, list, ended.signal);
      if (ended.signal.aborted) return;
      if (problem !== undefined) log.info({}, "consul's intentions can be read again");
      problem = undefined;
      const next = { list, otherwise };
      // Long polls also return without a change.
      if (JSON.stringify(state.get()) !== JSON.stringify(next)) state.set(next);
    },
    onError: (error) => {
      const reason =
        error instanceof ConsulReadError && error.status === 403
          ? `consul refuses to show intentions (403): ${neededRights}`
          : error.message;
      if (problem !== reason) log.warn({ reason }, "cannot read consul's intentions: the last known stay");
      problem = reason;
    },
  });
  return {
    state,
    close: () => {
      ended.abort();
      http.close();
    },
  };
}

const neededRights = `give it service_prefix "" { policy = "read" intentions = "read" }`;

/**
 * What Consul does with calls that no intention is about: asked for two services that nobody has. With an intention about all
 * services there is no such pair, and the agent's settings tell, if the token may read them; else nobody is let through.
 */
async function readDefault(
  get: ConsulGet,
  list: readonly Intention[],
  signal: AbortSignal,
): Promise<Verdict> {
  const read = { consistency: "default", block: undefined, signal } as const;
  const { body } = await get({
    ...read,
    path: `${path}/check`,
    query: { source: nobody, destination: nobody },
  });
  const { Allowed: isAllowed } = Object(body) as { readonly Allowed?: unknown };
  if (typeof isAllowed !== "boolean") throw new Error(`${path}/check: the answer is not Consul's`);
  if (!list.some(({ source, destination }) => source === "*" && destination === "*"))
    return isAllowed ? "allow" : "deny";
  try {
    const self = await get({ ...read, path: "/agent/self" });
    const { DebugConfig: config } = Object(self.body) as { readonly DebugConfig?: Record<string, unknown> };
    const own = config?.["DefaultIntentionPolicy"];
    if (own === "allow" || own === "deny") return own;
    return config?.["ACLsEnabled"] === false || config?.["ACLDefaultPolicy"] === "allow" ? "allow" : "deny";
  } catch (error: unknown) {
    if (error instanceof ConsulReadError && error.status === 403) return "deny";
    throw error;
  }
}
