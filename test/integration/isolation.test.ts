/** With real processes: classes of requests under overload, and a hung upstream beside a healthy one. */
import http from "node:http";
import path from "node:path";
import t, { type Test } from "tap";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { until } from "../support/until.js";

/** Eight requests at once, 40 ms each. */
const orders = [process.execPath, path.resolve(import.meta.dirname, "../../examples/isolation/orders.js")];
const perSecond = 200;
const seconds = 4;

function percentile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * share)] ?? 0;
}

interface Outcome {
  readonly name: string;
  readonly status: number;
  readonly error: string | undefined;
  readonly ms: number;
}

/** Sends requests of all classes, answered or not, for `seconds`. */
async function load(
  port: number,
  rates: Readonly<Record<string, number>>,
  seconds: number,
): Promise<Outcome[]> {
  const agent = new http.Agent({ keepAlive: true });
  const outcomes: Promise<Outcome>[] = [];
  const send = async (name: string): Promise<Outcome> => {
    const startMs = performance.now();
    const { status, error } = await call({ port, agent, headers: { "x-priority": name } });
    return { name, status, error, ms: performance.now() - startMs };
  };
  const beginMs = performance.now();
  const sent = new Map<string, number>();
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const passed = (performance.now() - beginMs) / 1000;
      for (const [name, rate] of Object.entries(rates))
        for (let n = sent.get(name) ?? 0; n < passed * rate; n++) {
          sent.set(name, n + 1);
          outcomes.push(send(name));
        }
      if (passed < seconds) return;
      clearInterval(timer);
      resolve();
    }, 5);
  });
  const all = await Promise.all(outcomes);
  agent.destroy();
  return all;
}

const mesh = await startMesh(t);

function upstreamPort(caller: Running, service: string): number {
  return caller.upstreams.get(service) ?? 0;
}

t.test("three times the load: critical requests succeed, batch goes first", async (t) => {
  await mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: orders}
spec:
  targetRefs: [{kind: Service, name: orders}]
  priority: {header: x-priority}
  adaptiveConcurrency: {maxLimit: 200}
  loadShedding: {shares: {default: 80, batch: 60}}
  bulkheads: {batch: {maxRequests: 100, maxWait: 50ms}}
`);
  const [service, shop] = await Promise.all([
    mesh.join({ name: "orders", service: "orders", command: orders }),
    mesh.join({ name: "shop", service: "shop", upstreams: ["orders"] }),
  ]);
  await mesh.untilKnown(shop, "orders", [service]);
  const port = upstreamPort(shop, "orders");
  t.equal(
    (await call({ port, headers: { "x-priority": "critical" } })).body,
    "critical\n",
    "the application is told",
  );
  t.equal(
    (await call({ port, headers: { "x-remora-priority": "batch" } })).body,
    "default\n",
    "not to be forged",
  );

  const rates = { critical: 0.2 * perSecond, default: 0.8 * perSecond, batch: 2 * perSecond };
  await load(port, rates, 1.5);
  const outcomes = await load(port, rates, seconds);
  const of = (name: string) => outcomes.filter((each) => each.name === name);
  const isOk = ({ status }: Outcome): boolean => status === 200;
  const share = (name: string): number => of(name).filter(isOk).length / of(name).length;
  const said = Object.keys(rates).map((name) => `${name} ${(share(name) * 100).toFixed(1)} %`);
  t.comment(said.join(", "));
  t.ok(share("critical") >= 0.99, said.join(", "));
  t.ok(share("default") > share("batch"), said.join(", "));
  t.ok(
    outcomes.filter(isOk).length > seconds * perSecond * 0.6,
    `${outcomes.filter(isOk).length} served: it was kept busy`,
  );
  const failed = outcomes.filter((each) => !isOk(each));
  t.ok(
    failed.every(
      ({ error }) => error === "overloaded" || error === "concurrency_limit" || error === "queue_timeout",
    ),
    [...new Set(failed.map(({ status, error }) => `${status} ${error}`))].join(),
  );
  const criticalMs = percentile(
    of("critical")
      .filter(isOk)
      .map(({ ms }) => ms),
    0.5,
  );
  t.ok(
    criticalMs < 40 * 3 * (await machinePace()),
    `critical requests take ${Math.round(criticalMs)} ms, not the queue's`,
  );
  await sheddingIsTold(t, service, shop);
});

async function sheddingIsTold(t: Test, service: Running, shop: Running): Promise<void> {
  const shed = (priority: string) => metric(service.admin, "remora_shed_total", { priority });
  t.ok((await shed("batch")) > (await shed("critical")));
  const limit = await metric(service.admin, "remora_inbound_concurrency_limit");
  // How far above eight depends on how evenly the machine runs.
  t.ok(limit >= 8 && limit < 100, `limit ${limit} for eight at once`);
  t.equal(await metric(service.admin, "remora_inbound_requests_active"), 0);
  t.equal(await metric(shop.admin, "remora_bulkhead_requests_active"), 0);
  const ejected = await metric(shop.admin, "remora_breaker_transitions_total", { to: "open" });
  t.equal(ejected, 0, "an instance that sheds is not ejected");
}

/** p99 of requests to a healthy upstream, a few at once. */
async function p99(port: number): Promise<number> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const times: number[] = [];
  const client = async (): Promise<void> => {
    for (let n = 0; n < 50; n++) {
      const startMs = performance.now();
      await call({ port, agent });
      times.push(performance.now() - startMs);
    }
  };
  await Promise.all([client(), client(), client(), client()]);
  agent.destroy();
  return percentile(times, 0.99);
}

/** Requests that nobody answers. */
async function hang(caller: Running, count: number): Promise<{ end(): Promise<void> }> {
  const agent = new http.Agent({ maxSockets: Infinity });
  const port = upstreamPort(caller, "slow");
  const requests = Array.from({ length: count }, () => {
    const request = http.get({ host: "127.0.0.1", port, path: "/?ms=60000", agent });
    return request.on("error", () => undefined);
  });
  const cluster = { envoy_cluster_name: "slow.default" };
  const active = () => metric(caller.admin, "envoy_cluster_upstream_rq_active", cluster);
  await until(`${count} requests under way`, async () => (await active()) === count);
  return {
    async end() {
      for (const request of requests) request.destroy();
      agent.destroy();
      await until("nothing under way", async () => (await active()) === 0);
    },
  };
}

t.test("a hung upstream with 500 requests under way leaves another as fast as it was", async (t) => {
  const [slow, fast, web] = await Promise.all([
    mesh.join({ name: "slow", service: "slow" }),
    mesh.join({ name: "fast", service: "fast" }),
    mesh.join({ name: "web", service: "web", upstreams: ["slow", "fast"] }),
  ]);
  await mesh.untilKnown(web, "slow", [slow]);
  await mesh.untilKnown(web, "fast", [fast]);
  const port = upstreamPort(web, "fast");
  await p99(port);
  // Rounds in turn, of which the best counts: what the machine does besides must not look like the mesh.
  const [alone, beside]: [number[], number[]] = [[], []];
  for (let round = 0; round < 2; round++) {
    alone.push(await p99(port));
    const hung = await hang(web, 500);
    beside.push(await p99(port));
    await hung.end();
  }
  const [before, after] = [Math.min(...alone), Math.min(...beside)];
  const allowed = 5 * (await machinePace());
  t.comment(`p99 ${before.toFixed(1)} ms alone, ${after.toFixed(1)} ms beside 500 hung requests`);
  t.ok(
    after - before <= allowed,
    `${before.toFixed(1)} ms before, ${after.toFixed(1)} ms beside, ${allowed.toFixed(1)} allowed`,
  );
});
