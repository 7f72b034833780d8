/** The catalog and the registration against a real Consul agent, directly and through a gateway that misbehaves. */
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import Consul from "consul";
import t from "tap";
import type {
  Catalog,
  CatalogService,
  CatalogState,
  Instance,
  InstanceStatus,
} from "../../control-plane/catalog/catalog.js";
import { createConsulCatalog } from "../../control-plane/catalog/consul.js";
import {
  isMeshService,
  mergeInstances,
  readHealthEntries,
  readServiceNames,
} from "../../control-plane/catalog/consul-health.js";
import type { ConsulRegistration } from "../../src/registration/consul-agent.js";
import { registerWithConsul } from "../../src/registration/consul-agent.js";
import type { ConsulService } from "../../src/registration/consul-service.js";
import { systemClock } from "../../src/time/clock.js";
import type { ConsulAgent } from "../support/consul-agent.js";
import { skipWithoutConsul, startConsulAgent } from "../support/consul-agent.js";
import type { ConsulFront } from "../support/consul-front.js";
import { startConsulFront } from "../support/consul-front.js";

/** What we promise: endpoints are right within a second of a change. */
const promisedMs = 1000;

interface Watched {
  readonly catalog: Catalog;
  readonly warnings: string[];
  /** Smallest number of routable instances of `service` ever published since the last call. */
  lowest(service: string): number;
}

let agentUrl = "";
/** How far the catalog was behind Consul, over the whole run, milliseconds. */
const lags: number[] = [];
const watchedNow: Watched[] = [];
const registrations: ConsulRegistration[] = [];

function watchCatalog(url: string, maxConnections?: number): Watched {
  const warnings: string[] = [];
  const log = {
    info: () => undefined,
    warn: (fields: object, message: string) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  };
  const catalog = createConsulCatalog({
    ...{ url, clock: systemClock, log },
    ...(maxConnections === undefined ? {} : { maxConnections }),
  });
  let seen: CatalogState[] = [];
  catalog.state.watch((state) => state !== undefined && seen.push(state));
  const watched: Watched = {
    catalog,
    warnings,
    lowest: (service) => {
      const counts = seen.map((state) => routable(state, service).length);
      seen = [];
      return Math.min(...counts, routable(catalog.state.get(), service).length);
    },
  };
  watchedNow.push(watched);
  return watched;
}

function instancesOf(state: CatalogState | undefined, service: string): readonly Instance[] {
  return state?.services.get(`${service}.default`)?.instances ?? [];
}

function routable(state: CatalogState | undefined, service: string): readonly Instance[] {
  return instancesOf(state, service).filter(({ status }) => status === "passing" || status === "warning");
}

/** What Consul's leader has, read without the long polls that are under test. */
async function truth(url: string): Promise<CatalogState> {
  const read = async (path: string): Promise<unknown> => (await fetch(`${url}/v1${path}`)).json();
  const services = new Map<string, CatalogService>();
  for (const name of readServiceNames(await read("/catalog/services")) ?? []) {
    if (!isMeshService(name)) continue;
    const [entries = [], proxies = []] = [
      readHealthEntries(await read(`/health/service/${name}`)),
      readHealthEntries(await read(`/health/connect/${name}`)),
    ];
    const { instances } = mergeInstances(name, entries, proxies, () => undefined);
    services.set(`${name}.default`, { name, namespace: "default", instances });
  }
  return { services, staleSince: undefined };
}

/**
 * Waits until Consul itself has it (agents take up to some seconds to tell the servers), then at most a second until the
 * catalog has it. Returns by how many milliseconds the catalog was behind.
 */
async function follows(
  catalog: Catalog,
  what: string,
  accept: (state: CatalogState) => boolean,
): Promise<number> {
  const ended = new AbortController();
  let atMs = Infinity;
  const seen = catalog.state
    .until((state) => state !== undefined && accept(state), ended.signal)
    .then(
      () => (atMs = performance.now()),
      () => undefined,
    );
  const deadlineMs = performance.now() + 8000;
  while (!accept(await truth(agentUrl))) {
    if (performance.now() > deadlineMs) throw new Error(`consul itself never had it: ${what}`);
    await pause(10);
  }
  const truthMs = performance.now();
  await Promise.race([seen, pause(promisedMs, undefined, { ref: false })]);
  ended.abort();
  await seen;
  const behindMs = Math.max(0, atMs - truthMs);
  lags.push(behindMs);
  if (behindMs === Infinity) throw new Error(`not within ${promisedMs} ms: ${what}; ${show(catalog)}`);
  return behindMs;
}

/** Waits for something that is not the registry's content. */
async function becomes(
  catalog: Catalog,
  what: string,
  accept: (state: CatalogState) => boolean,
  withinMs = promisedMs,
): Promise<void> {
  try {
    await catalog.state.until((state) => state !== undefined && accept(state), AbortSignal.timeout(withinMs));
  } catch {
    throw new Error(`not within ${withinMs} ms: ${what}; ${show(catalog)}`);
  }
}

function show(catalog: Catalog): string {
  const state = catalog.state.get();
  const services = [...(state?.services.values() ?? [])].map(({ name, instances }) => [name, ...instances]);
  return `the catalog has ${JSON.stringify({ services, stale: state?.staleSince })}`;
}

const statuses = (state: CatalogState, service: string): readonly InstanceStatus[] =>
  instancesOf(state, service).map(({ status }) => status);

async function register(
  agent: ConsulAgent,
  service: Partial<ConsulService> & { readonly id: string; readonly name: string },
  inboundPort: number,
): Promise<ConsulRegistration> {
  const registration = await registerWithConsul({
    url: agent.url,
    service: {
      port: 9000,
      address: "127.0.0.1",
      meta: {},
      tags: [],
      checks: [{ kind: "ttl", ttlMs: 6000 }],
      ...service,
    },
    inboundPort,
    clock: systemClock,
    log: () => undefined,
  });
  registrations.push(registration);
  return registration;
}

/** Stands for the application and, since the agent only connects, for the sidecar's inbound port. */
async function startApp(): Promise<{ readonly port: number; status: number; close(): Promise<void> }> {
  const app = {
    port: 0,
    status: 200,
    close: async (): Promise<void> => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  const server = http.createServer((_, response) => void response.writeHead(app.status).end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  app.port = (server.address() as AddressInfo).port;
  return app;
}

t.test("with a real Consul", { skip: skipWithoutConsul() }, async (t) => {
  const agent = await startConsulAgent({ nodeMeta: { zone: "zone-a" } });
  agentUrl = agent.url;
  const app = await startApp();
  const front: ConsulFront = await startConsulFront(agent.url);
  const consul = new Consul({ host: "127.0.0.1", port: Number(new URL(agent.url).port) });
  t.teardown(async () => {
    for (const registration of registrations) await registration.deregister().catch(() => undefined);
    for (const { catalog } of watchedNow) await catalog.close();
    consul.destroy();
    await front.close();
    await app.close();
    await agent.stop();
  });
  const direct = watchCatalog(agent.url);
  await becomes(direct.catalog, "an empty registry is known", (state) => state.services.size === 0, 5000);
  const now = (): CatalogState | undefined => direct.catalog.state.get();
  const isNone = (state: CatalogState): boolean => state.services.size === 0;

  await t.test("a registered service has its sidecar, its meta, its tags and its zone", async (t) => {
    const web = await register(
      agent,
      {
        ...{ id: "web-1", name: "web", port: app.port },
        ...{ meta: { protocol: "grpc", version: "2" }, tags: ["blue"] },
      },
      app.port,
    );
    // Consul has the service a moment before the sidecar.
    const isMeshed = (state: CatalogState): boolean =>
      routable(state, "web").length === 1 && instancesOf(state, "web")[0]?.meshPort !== undefined;
    await follows(direct.catalog, "web passing", isMeshed);
    t.match(instancesOf(now(), "web"), [
      {
        ...{ id: "node-1/web-1", address: "127.0.0.1", port: app.port, meshPort: app.port },
        ...{ status: "passing", protocol: "grpc", weight: 1, zone: "zone-a" },
        ...{ meta: { protocol: "grpc", version: "2" }, tags: ["blue"] },
      },
    ]);
    t.strictSame([...(now()?.services.keys() ?? [])], ["web.default"], "neither consul nor sidecars");
    t.match(await readConnect(agent.url, "web"), [
      {
        Service: {
          ...{ Kind: "connect-proxy", ID: "web-1-sidecar-proxy", Port: app.port },
          Proxy: {
            ...{ DestinationServiceName: "web", DestinationServiceID: "web-1" },
            ...{ LocalServiceAddress: "127.0.0.1", LocalServicePort: app.port },
          },
        },
      },
    ]);

    await t.test("maintenance takes it out and puts it back", async (t) => {
      await web.maintenance(true, "upgrade");
      await follows(direct.catalog, "maintenance", (s) => statuses(s, "web")[0] === "maintenance");
      await web.maintenance(false);
      await follows(direct.catalog, "passing again", (s) => statuses(s, "web")[0] === "passing");
      t.equal(routable(now(), "web").length, 1);
    });

    await t.test("warning is routed, critical is not", async (t) => {
      for (const status of ["warning", "critical", "passing"] as const) {
        web.setTtlStatus(status, "said the test");
        await follows(direct.catalog, status, (s) => statuses(s, "web")[0] === status);
        t.equal(routable(now(), "web").length, status === "critical" ? 0 : 1, status);
      }
    });

    await t.test("deregistration is seen, also twice", async (t) => {
      const gone = web.deregister();
      t.equal(web.deregister(), gone, "once");
      await gone;
      await follows(direct.catalog, "web gone", isNone);
      t.notOk((await consul.agent.services())["web-1-sidecar-proxy"], "the sidecar too");
    });
  });

  await t.test("a failing HTTP check is critical until it passes", async (t) => {
    const orders = await register(
      agent,
      {
        ...{ id: "orders-1", name: "orders", port: app.port },
        checks: [{ kind: "http", path: "/health", intervalMs: 1000 }],
      },
      app.port,
    );
    for (const [httpStatus, status] of [
      [200, "passing"],
      [500, "critical"],
      [429, "warning"],
      [200, "passing"],
    ] as const) {
      app.status = httpStatus;
      await follows(direct.catalog, status, (s) => statuses(s, "orders")[0] === status);
    }
    await orders.deregister();
    await follows(direct.catalog, "gone", isNone);
    t.pass("each within a second");
  });

  await t.test("what the registry says wrongly is left out", async (t) => {
    await consul.agent.service.register({
      name: "poison",
      id: "poison-1",
      address: "169.254.169.254",
      port: 80,
    });
    await consul.agent.service.register({ name: "Bad Name", id: "bad-1", address: "127.0.0.1", port: 80 });
    await follows(direct.catalog, "poison known", (state) => state.services.has("poison.default"));
    t.strictSame(instancesOf(now(), "poison"), []);
    t.ok(
      direct.warnings.some((line) => line.includes("169.254.169.254")),
      "the log names it",
    );
    t.equal(now()?.services.size, 1, "a name that is no name is not listed");
    for (const id of ["poison-1", "bad-1"]) await consul.agent.service.deregister(id);
    await follows(direct.catalog, "gone", isNone);
  });

  await t.test("a service without a sidecar has no mesh port", async (t) => {
    await consul.agent.service.register({ name: "legacy", id: "legacy-1", address: "127.0.0.1", port: 1234 });
    await follows(direct.catalog, "legacy", (state) => routable(state, "legacy").length === 1);
    t.match(instancesOf(now(), "legacy"), [{ port: 1234, meshPort: undefined }]);
    await consul.agent.service.deregister("legacy-1");
    await follows(direct.catalog, "gone", isNone);
  });

  await t.test("through a gateway that misbehaves", async (t) => {
    await register(agent, { id: "api-1", name: "api" }, app.port);
    const second = await register(agent, { id: "api-2", name: "api" }, app.port);
    const through = watchCatalog(front.url);
    const { catalog } = through;
    const count = (expected: number) => (state: CatalogState) => routable(state, "api").length === expected;
    const isStale = (state: CatalogState): boolean => state.staleSince !== undefined;
    const isFresh = (state: CatalogState): boolean => state.staleSince === undefined;
    await follows(catalog, "both", count(2));

    const lasting = [
      ["no cluster leader", { kind: "status", status: 500, body: "No cluster leader" }],
      ["too many requests", { kind: "status", status: 429, body: "" }],
      ["permission denied", { kind: "status", status: 403, body: "Permission denied" }],
      ["everything empty", { kind: "empty" }],
      ["connection cut in the middle of each answer", { kind: "cut" }],
    ] as const;
    for (const [name, fault] of lasting) {
      await t.test(name, async (t) => {
        through.lowest("api");
        front.misbehave(fault);
        await becomes(catalog, "stale", isStale);
        const before = front.requests();
        await pause(700);
        t.ok(front.requests() - before < 60, `no storm: ${front.requests() - before} requests in 0.7 s`);
        t.match(catalog.state.get()?.staleSince?.reason, /consul/);
        t.equal(through.lowest("api"), 2, "never empty");
        // Something changes while nothing can be read: it is there a second after reading works again.
        second.setTtlStatus("critical");
        await follows(direct.catalog, "critical", count(1));
        front.misbehave({ kind: "none" });
        await follows(catalog, "critical too", (state) => isFresh(state) && count(1)(state));
        second.setTtlStatus("passing");
        await follows(catalog, "whole again", count(2));
      });
    }

    await t.test("one service's answer empty while it is listed", async (t) => {
      through.lowest("api");
      front.misbehave({ kind: "empty" }, /health\/service\/api/);
      await becomes(catalog, "stale", (state) => /api/.test(state.staleSince?.reason ?? ""));
      front.misbehave({ kind: "empty" }, /health\/connect\/api/);
      await pause(400);
      t.ok(instancesOf(catalog.state.get(), "api").every(({ meshPort }) => meshPort === app.port));
      t.equal(through.lowest("api"), 2);
      front.misbehave({ kind: "none" });
      await becomes(catalog, "fresh", isFresh);
    });

    for (const index of ["3", "0", undefined, "nonsense"]) {
      await t.test(`index ${index ?? "absent"}`, async (t) => {
        through.lowest("api");
        front.misbehave({ kind: "index", index });
        const before = front.requests();
        await pause(500);
        t.ok(front.requests() - before < 60, `no storm: ${front.requests() - before} requests in 0.5 s`);
        second.setTtlStatus("critical");
        await follows(catalog, "one left", count(1));
        second.setTtlStatus("passing");
        await follows(catalog, "both again", count(2));
        t.equal(through.lowest("api"), 1, "never empty");
        front.misbehave({ kind: "none" });
        await becomes(catalog, "fresh", isFresh);
      });
    }
    await catalog.close();
  });

  await t.test("an agent that restarts with a new index loses nothing", async (t) => {
    await follows(direct.catalog, "both", (state) => routable(state, "api").length === 2);
    direct.lowest("api");
    await agent.halt(true);
    await becomes(direct.catalog, "stale", (state) => state.staleSince !== undefined);
    t.equal(routable(now(), "api").length, 2, "kept while it is away");
    await agent.start();
    await follows(
      direct.catalog,
      "fresh and whole",
      (state) => state.staleSince === undefined && routable(state, "api").length === 2,
    );
    t.equal(instancesOf(now(), "api").length, 2);
    t.ok(direct.lowest("api") >= 1, "never empty");
  });

  await t.test("without a connection to spare, services are polled", async (t) => {
    const { catalog } = watchCatalog(front.url, 9);
    const longPoll = /health.*index=/;
    const count = (expected: number) => (state: CatalogState) => routable(state, "api").length === expected;
    await follows(catalog, "both", count(2));
    const [before, blockedBefore] = [front.requests(), front.requests(longPoll)];
    for (const isOn of [true, false]) {
      await registrations.at(-1)?.maintenance(isOn);
      await follows(catalog, `maintenance ${isOn}`, count(isOn ? 1 : 2));
    }
    t.equal(front.requests(longPoll), blockedBefore, "only the list is waited for");
    t.ok(front.requests() - before < 40, `${front.requests() - before} reads`);
    await catalog.close();
  });

  await t.test("a registration that the agent lost is made again", async (t) => {
    for (const id of ["api-1", "api-2"]) await consul.agent.service.deregister(id);
    await follows(direct.catalog, "gone", isNone);
    const isHealed = (state: CatalogState): boolean =>
      routable(state, "api").filter(({ meshPort }) => meshPort === app.port).length === 2;
    await follows(direct.catalog, "healed", isHealed);
    t.ok(isHealed(now() as CatalogState));
  });
  t.comment(`behind Consul by at most ${Math.max(...lags).toFixed(0)} ms in ${lags.length} changes`);
});

t.test("with ACLs and TLS", { skip: skipWithoutConsul() }, async (t) => {
  const agent = await startConsulAgent({ hasAcls: true, hasTls: true });
  const app = await startApp();
  const caFile = agent.https?.caFile ?? "";
  const url = agent.https?.url ?? "";
  let root = "";
  const put = async (path: string, body: object): Promise<{ SecretID: string; ID: string }> => {
    const headers = { "X-Consul-Token": root };
    const answer = await fetch(`${agent.url}/v1${path}`, {
      method: "PUT",
      headers,
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as { SecretID: string; ID: string };
  };
  root = (await put("/acl/bootstrap", {})).SecretID;
  const readRules = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
  const reading = { Name: "reading", Rules: readRules };
  const policy = await put("/acl/policy", reading);
  await put("/acl/policy", {
    Name: "writing",
    Rules: 'service_prefix "" { policy = "write" } node_prefix "" { policy = "read" }',
  });
  const reader = await put("/acl/token", { Policies: [{ Name: "reading" }] });
  const writer = await put("/acl/token", { Policies: [{ Name: "writing" }] });
  const closing: (() => Promise<void>)[] = [];
  t.teardown(async () => {
    for (const close of closing) await close().catch(() => undefined);
    await app.close();
    await agent.stop();
  });
  const enroll = async (name: string, token: string | undefined, at = url): Promise<ConsulRegistration> => {
    const registration = await registerWithConsul({
      ...{ url: at, token, caFile, inboundPort: app.port, clock: systemClock, log: () => undefined },
      service: {
        ...{ id: `${name}-1`, name, port: app.port, address: "127.0.0.1", meta: {}, tags: [] },
        checks: [{ kind: "ttl", ttlMs: 6000 }],
      },
    });
    closing.push(() => registration.deregister());
    return registration;
  };

  await t.rejects(enroll("web", undefined), /permission denied.*service:write for web/i);
  await t.rejects(enroll("web", reader.SecretID), /permission denied.*service:write for web/i);
  await t.rejects(enroll("web", writer.SecretID, "http://127.0.0.1:1"), /ECONNREFUSED; is the agent running/);
  await t.rejects(enroll("web", writer.SecretID, "127.0.0.1:8500"), /no Consul address/);

  await enroll("web", writer.SecretID);
  const warnings: string[] = [];
  const log = { info: () => undefined, warn: (fields: object) => void warnings.push(JSON.stringify(fields)) };
  const catalog = createConsulCatalog({ url, caFile, token: reader.SecretID, clock: systemClock, log });
  closing.unshift(() => catalog.close());
  const isWeb = (state: CatalogState): boolean => routable(state, "web").length === 1;
  await becomes(catalog, "web over TLS", isWeb, 5000);

  await t.test("a token that may read nothing any more: 200 with nothing in it", async (t) => {
    await put(`/acl/policy/${policy.ID}`, { ...reading, ID: policy.ID, Rules: "" });
    await enroll("other", writer.SecretID); // wakes the long poll on the list
    await becomes(catalog, "stale", (state) => state.staleSince !== undefined, 5000);
    await pause(700);
    t.ok(isWeb(catalog.state.get() as CatalogState), "kept");
    t.match(catalog.state.get()?.staleSince?.reason, /token|permission/);
    await put(`/acl/policy/${policy.ID}`, { ...reading, ID: policy.ID });
    await becomes(
      catalog,
      "fresh, with what came meanwhile",
      (state) => state.staleSince === undefined && isWeb(state) && routable(state, "other").length === 1,
      5000,
    );
  });

  await t.test("a token that was deleted: 403", async (t) => {
    const headers = { "X-Consul-Token": root };
    const { AccessorID } = reader as unknown as { AccessorID: string };
    await fetch(`${agent.url}/v1/acl/token/${AccessorID}`, { method: "DELETE", headers });
    await enroll("third", writer.SecretID);
    await becomes(catalog, "stale", (state) => /403/.test(state.staleSince?.reason ?? ""), 5000);
    t.ok(isWeb(catalog.state.get() as CatalogState), "kept");
    t.notMatch(JSON.stringify([warnings, catalog.state.get()?.staleSince]), reader.SecretID, "and not shown");
  });
});

async function readConnect(url: string, name: string): Promise<unknown> {
  return (await fetch(`${url}/v1/health/connect/${name}`)).json();
}
