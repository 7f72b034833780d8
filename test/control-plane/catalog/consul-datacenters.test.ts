/** Which of Consul's other datacenters are read, for how long, and what stays of them; a Consul played by the test. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import t, { type Test } from "tap";
import type { Instance } from "../../../control-plane/catalog/catalog.js";
import {
  maxDatacenters,
  watchConsulDatacenters,
  type ConsulDatacenters,
} from "../../../control-plane/catalog/consul-datacenters.js";
import {
  keepKnownDatacenters,
  readKnownDatacenters,
  type KnownDatacenters,
} from "../../../control-plane/catalog/known-datacenters.js";
import type { StoredDocument } from "../../../control-plane/policy-store/stored-document.js";
import { ConsulReadError, type ConsulGet } from "../../../src/consul/consul-http.js";
import { LatestValue } from "../../../src/lifecycle/latest-value.js";
import { FakeClock } from "../../support/fake-clock.js";
import { documentsOf } from "../../support/mesh-model.js";

const policy = (failover: string, service = "api"): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${service}}
spec: {targetRefs: [{kind: Service, name: ${service}}], failover: [${failover}]}
---
`;

const instance = (service: string, number: number): object => ({
  Node: {
    ...{ Node: "n1", Address: "10.0.0.1", TaggedAddresses: { lan: "10.0.0.1", wan: "203.0.113.1" } },
    Datacenter: "dc2",
  },
  Service: {
    ID: `${service}-${number}`,
    Service: service,
    Address: "",
    Port: 8000 + number,
    Meta: {},
    Tags: [],
  },
  Checks: [],
});

type Registry = Readonly<Record<string, readonly object[]>>;

/** Plain reads are answered from `registries`, by datacenter and service; long polls wait for `change`. */
class PlayedConsul {
  readonly reads: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #registries: ReadonlyMap<string, Registry>;

  constructor(registries: ReadonlyMap<string, Registry>) {
    this.#registries = registries;
  }

  readonly get: ConsulGet = async ({ path, query, block, signal }) => {
    const dc = query?.["dc"] ?? "dc1";
    if (block === undefined) this.reads.push(`${dc}${path}`);
    else
      await new Promise<void>((resolve, reject) => {
        this.#waiting.add(resolve);
        signal.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
      });
    const registry = this.#registries.get(dc);
    if (registry === undefined) throw new ConsulReadError("500 No path to datacenter", 500);
    const [, , kind, name = ""] = path.split("/");
    const listing = Object.fromEntries(["consul", ...Object.keys(registry)].map((each) => [each, []]));
    const entries = kind === "connect" ? [] : (registry[name] ?? []);
    const servers = [{ Node: { Node: "s1", Datacenter: dc }, Service: { Service: "consul" } }];
    const body = kind === "services" ? listing : name === "consul" ? servers : entries;
    return { body, index: block === undefined ? 5 : block.index + 1, isFiltered: false };
  };

  /** Every long poll comes back. */
  change(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

interface Watched {
  readonly watched: ConsulDatacenters;
  readonly documents: LatestValue<readonly StoredDocument[]>;
  readonly warnings: string[];
  /** Name, services with the addresses of their instances, and what is wrong. */
  readonly told: () => readonly string[] | undefined;
}

function watch(
  t: Test,
  consul: PlayedConsul,
  clock: FakeClock,
  yaml: string,
  known: KnownDatacenters = new Map(),
): Watched {
  const documents = new LatestValue(documentsOf(yaml));
  const warnings: string[] = [];
  const watched = watchConsulDatacenters({
    agent: { url: "http://127.0.0.1:8500" },
    http: { get: consul.get, close: () => undefined },
    ...{ documents, known, clock, refuse: () => undefined },
    log: { info: () => undefined, warn: (_, message) => void warnings.push(message) },
  });
  t.teardown(() => watched.close());
  const addressesOf = (instances: readonly Instance[]): string =>
    instances.map(({ address, port }) => `${address}:${port}`).join(" ");
  return {
    ...{ watched, documents, warnings },
    told: () => {
      const others = watched.state.get()?.others;
      return (
        others &&
        [...others].map(([name, { services, isRead, staleSince }]) =>
          [
            ...[name, isRead ? "read" : "unread"],
            ...[...services].map(([key, { instances }]) => `${key} ${addressesOf(instances)}`),
            ...(staleSince === undefined ? [] : [staleSince.reason]),
          ].join(", "),
        )
      );
    },
  };
}

async function settle(): Promise<void> {
  for (let n = 0; n < 12; n++) await turn();
}

const two = (): Map<string, Registry> =>
  new Map([
    ["dc1", {}],
    ["dc2", { api: [instance("api", 1)], backup: [instance("backup", 2)], other: [instance("other", 3)] }],
  ]);

t.test("only what policies name is read, at the addresses for elsewhere", async (t) => {
  const consul = new PlayedConsul(two());
  const { told, documents, watched } = watch(t, consul, new FakeClock(), "");
  t.same(told(), [], "known at once: there is nothing to read");
  t.same(consul.reads, []);
  documents.set(
    documentsOf(policy("{datacenter: dc2}, {service: backup, datacenter: dc2}, {service: other}")),
  );
  await settle();
  t.same(told(), ["dc2, read, api.default 203.0.113.1:8001, backup.default 203.0.113.1:8002"]);
  t.equal(watched.state.get()?.own, "dc1");
  t.same(consul.reads.sort(), [
    "dc1/health/service/consul",
    "dc2/catalog/services",
    ...["dc2/health/connect/api", "dc2/health/connect/backup"],
    ...["dc2/health/service/api", "dc2/health/service/backup"],
  ]);
});

t.test("nothing is told before all that is named at the start was read, or could not be", async (t) => {
  const consul = new PlayedConsul(two());
  const { told } = watch(t, consul, new FakeClock(), policy("{datacenter: dc2}, {datacenter: dc9}"));
  const seen = [told()];
  for (let n = 0; n < 12; n++) {
    await turn();
    if (told()?.length !== seen.at(-1)?.length) seen.push(told());
  }
  t.same(seen, [
    undefined,
    ["dc2, read, api.default 203.0.113.1:8001", "dc9, unread, 500 No path to datacenter"],
  ]);
});

t.test("the own datacenter is not another one", async (t) => {
  const consul = new PlayedConsul(two());
  const { told } = watch(t, consul, new FakeClock(), policy("{datacenter: dc1}, {datacenter: dc2}"));
  await settle();
  t.same(told(), ["dc2, read, api.default 203.0.113.1:8001"]);
});

t.test("what was read stays while it cannot be, and while a document is replaced", async (t) => {
  const registries = two();
  const consul = new PlayedConsul(registries);
  const clock = new FakeClock();
  const { told, documents, watched } = watch(t, consul, clock, policy("{datacenter: dc2}"));
  await settle();
  const known = "dc2, read, api.default 203.0.113.1:8001";
  const registry = registries.get("dc2") ?? {};
  registries.delete("dc2");
  consul.change();
  await settle();
  t.same(told(), [`${known}, 500 No path to datacenter`]);
  registries.set("dc2", registry);
  clock.advance(10_000);
  await settle();
  t.same(told(), [known]);

  documents.set([]);
  clock.advance(9999);
  documents.set(documentsOf(policy("{datacenter: dc2}")));
  clock.advance(1);
  await settle();
  t.same(told(), [known], "somebody wants it again");
  documents.set([]);
  clock.advance(10_000);
  await settle();
  t.same(told(), []);
  const before = consul.reads.length;
  consul.change();
  clock.advance(60_000);
  await settle();
  t.equal(consul.reads.length, before, "nobody asks any more");
  watched.close();
  t.equal(clock.pendingTimers, 0);
});

t.test("what was known before the start is in force until a datacenter is read", async (t) => {
  const file = path.join(t.testdir(), "known.json");
  const clock = new FakeClock();
  const fail = (error: unknown): void => void t.fail(String(error));
  const registries = two();
  const yaml = policy("{datacenter: dc2}, {service: backup, datacenter: dc2}, {datacenter: dc9}");
  const first = watch(t, new PlayedConsul(registries), clock, yaml);
  const stop = keepKnownDatacenters(file, first.watched.state, clock, fail);
  await settle();
  await stop();
  const known = await readKnownDatacenters(file);
  t.same([...known.keys()], ["dc2"], "nothing of one that was never read");
  t.same(known.get("dc2"), first.watched.state.get()?.others.get("dc2")?.services);

  const registry = registries.get("dc2") ?? {};
  registries.delete("dc2");
  const { told } = watch(t, new PlayedConsul(registries), clock, policy("{datacenter: dc2}"), known);
  t.equal(told(), undefined, "it is tried first");
  await settle();
  t.same(
    told(),
    ["dc2, read, api.default 203.0.113.1:8001, 500 No path to datacenter"],
    "what is wanted now",
  );
  registries.set("dc2", { ...registry, api: [instance("api", 7)] });
  clock.advance(10_000);
  await settle();
  t.same(told(), ["dc2, read, api.default 203.0.113.1:8007"]);

  for (const text of ["", "{", "[]", '{"dc2": {"api.default": {"name": "api"}}}']) {
    await writeFile(file, text);
    t.same([...(await readKnownDatacenters(file))], [], text);
  }
});

t.test("whoever waits hears of what a document names, and not for ever", async (t) => {
  const consul = new PlayedConsul(two());
  const clock = new FakeClock();
  const { told, documents, watched } = watch(t, consul, clock, "");
  await watched.settled();
  documents.set(documentsOf(policy("{datacenter: dc2}")));
  await watched.settled();
  t.same(told(), ["dc2, read, api.default 203.0.113.1:8001"]);

  const silent = watchConsulDatacenters({
    agent: { url: "http://127.0.0.1:8500" },
    http: { get: () => new Promise(() => undefined), close: () => undefined },
    ...{ documents, clock, refuse: () => undefined, log: { info: () => undefined, warn: () => undefined } },
  });
  let isDone = false;
  const waited = silent.settled().then(() => (isDone = true));
  clock.advance(2999);
  await settle();
  t.notOk(isDone);
  clock.advance(1);
  await waited;
  t.equal(silent.state.get(), undefined);
  silent.close();
});

t.test("there is a bound on how many are read", async (t) => {
  const names = Array.from({ length: maxDatacenters + 1 }, (_, n) => `far-${n}`);
  const consul = new PlayedConsul(new Map([["dc1", {}], ...names.map((name) => [name, {}] as const)]));
  const yaml = names.map((name, n) => policy(`{datacenter: ${name}}`, `api-${n}`)).join("");
  const { told, warnings } = watch(t, consul, new FakeClock(), yaml);
  await settle();
  t.same(
    told(),
    names.slice(0, maxDatacenters).map((name) => `${name}, read`),
  );
  t.same(warnings, ["policies name more datacenters than are read"]);
});
