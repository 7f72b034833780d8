/** A sidecar in several processes: this one as the primary, with real workers. */
import { once } from "node:events";
import http, { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import net, { type AddressInfo } from "node:net";
import path from "node:path";
import fc from "fast-check";
import t, { type Test } from "tap";
import type { ClusterView, EndpointView } from "../../src/admin/admin-view.js";
import { mergeClusters } from "../../src/admin/merge-clusters.js";
import type { Snapshot } from "../../src/config/snapshot.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { shareOf } from "../../src/workers/share.js";
import { spread } from "../../src/workers/spread.js";
import { WorkerMetrics } from "../../src/workers/worker-metrics.js";
import { arbitrarySnapshot } from "../support/arbitrary-snapshot.js";
import { call } from "../support/http-load.js";
import { parsePrometheusText } from "../support/prometheus-text.js";
import { snapshotTo, startFromDisk, temporaryFolder, type KitSidecar } from "../support/sidecar-kit.js";
import { until } from "../support/until.js";

interface WorkerInfo {
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  readonly config_version: string;
  readonly connections: Readonly<Record<string, number>>;
}

async function workersOf({ ports }: KitSidecar): Promise<readonly WorkerInfo[]> {
  const { body } = await call({ port: ports.admin, path: "/server_info" });
  return (JSON.parse(body) as { workers: readonly WorkerInfo[] }).workers;
}

/** Sum of a counter over the series whose labels include `labels`. */
async function counted(
  { ports }: KitSidecar,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { body } = await call({ port: ports.admin, path: "/metrics" });
  const samples = parsePrometheusText(body).get(name)?.samples ?? [];
  return samples
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels.get(label) === value))
    .reduce((sum, { value }) => sum + value, 0);
}

async function application(
  t: Test,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<number> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** web -> api over mTLS, two workers each. */
async function mesh(
  t: Test,
  handler: (request: IncomingMessage, response: ServerResponse) => void = (_, response) =>
    response.end("hello"),
) {
  const appPort = await application(t, handler);
  const api = await startFromDisk(t, "api", { workers: 2, appPort, saved: snapshotTo([], { services: [] }) });
  const web = await startFromDisk(t, "web", {
    workers: 2,
    upstreams: [{ service: "api", port: 0 }],
    outboundPort: 0,
    saved: snapshotTo([api.ports.inbound]),
  });
  for (const sidecar of [api, web]) await sidecar.missing.until((missing) => missing.length === 0);
  const upstream = web.ports.upstreams.get("api") ?? 0;
  return { api, web, upstream, at: `127.0.0.1:${upstream}` };
}

/** A client with one connection of its own. */
function client(t: Test): http.Agent {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  return agent;
}

t.test("two workers serve as one sidecar", { timeout: 60_000 }, async (t) => {
  const { api, web, upstream, at } = await mesh(t);
  const clients = Array.from({ length: 10 }, () => client(t));
  for (let round = 0; round < 3; round++)
    for (const agent of clients)
      t.match(await call({ port: upstream, agent }), { status: 200, body: "hello" });

  const workers = await workersOf(web);
  t.match(
    workers.map(({ worker, state }) => [worker, state]),
    [
      [1, "ready"],
      [2, "ready"],
    ],
  );
  t.same(
    workers.map(({ connections }) => connections[at]),
    [5, 5],
    "connections are spread evenly",
  );
  t.equal(new Set(workers.map(({ pid }) => pid).concat(process.pid)).size, 3, "three processes");
  for (const { config_version: version } of workers)
    t.equal(version, workers[0]?.config_version, "the same configuration in all");
  const bySide = { envoy_http_conn_manager_prefix: "outbound" };
  t.equal(await counted(web, "envoy_http_downstream_rq_total", bySide), 30, "counted once each");
  t.equal(await counted(web, "istio_requests_total", { response_code: "200" }), 30);
  t.equal(await counted(web, "istio_request_duration_milliseconds", { le: "+Inf" }), 30, "histograms, too");
  t.equal(await counted(api, "istio_requests_total", { reporter: "destination" }), 30);
  t.equal(await counted(web, "envoy_http_downstream_cx_active", bySide), 10);
  t.equal(await counted(web, "envoy_cluster_membership_total", {}), 1, "not once per worker");
  t.equal(await counted(web, "remora_workers", { state: "configured" }), 2);
  t.equal(await counted(web, "remora_workers", { state: "alive" }), 2);
  const text = (await call({ port: web.ports.admin, path: "/metrics" })).body;
  const cpu = parsePrometheusText(text).get("process_cpu_seconds_total")?.samples ?? [];
  t.same(cpu.map(({ labels }) => labels.get("worker")).sort(), ["1", "2", "primary"]);
  const { body } = await call({ port: web.ports.admin, path: "/clusters" });
  t.match(body, "api.default::max_requests::1024\n", "the limit of the service, not of one worker");
  t.equal(body.match(/::rq_active::/g)?.length, 1, "one endpoint");
  t.match(await call({ port: web.ports.admin, path: "/ready" }), { status: 200 });

  await Promise.all([web.close(), api.close()]);
  const lines = await web.accessLog();
  t.equal(lines.length, 30, "whole lines of both workers in one access log");
  for (const { pid } of workers) t.throws(() => process.kill(pid, 0), { code: "ESRCH" }, "gone");
});

t.test("a worker that is killed takes only its own connections along", { timeout: 60_000 }, async (t) => {
  const held: ServerResponse[] = [];
  const { web, upstream } = await mesh(t, (request, response) => {
    if (request.url === "/slow") held.push(response);
    else response.end("hello");
  });
  const clients = [client(t), client(t)];
  for (const agent of clients) await call({ port: upstream, agent });
  const slow = clients.map((agent) =>
    call({ port: upstream, path: "/slow", agent }).then(
      ({ status }) => status,
      (error: NodeJS.ErrnoException) => error.code ?? "",
    ),
  );
  await until("both are under way", () => held.length === 2);
  const total = () => counted(web, "envoy_http_downstream_rq_total");
  const before = await total();
  t.equal(before, 4);
  const [victim] = await workersOf(web);
  process.kill(victim?.pid ?? 0, "SIGKILL");
  await until("a new worker", async () => {
    const [now] = await workersOf(web);
    return now?.state === "ready" && now.pid !== victim?.pid;
  });
  for (const response of held) response.end("at last");
  t.same((await Promise.all(slow)).sort(), [200, "ECONNRESET"]);
  t.ok((await total()) >= before, "counters do not go backwards");
  t.equal(await counted(web, "remora_worker_restarts_total"), 1);
  t.equal(web.logged.filter((line) => line.startsWith("error")).length, 1, "one line in the log");
  t.match(web.logged.join("\n"), /error a worker has ended unexpectedly.*"worker":1,"how":"SIGKILL"/);
  t.same(web.missing.get(), [], "ready all the time: somebody was there");
  for (let i = 0; i < 4; i++) t.match(await call({ port: upstream }), { status: 200 });
  t.equal(await total(), before + 4);

  // All at once: the ports stay, and whoever connects meanwhile is served by the next ones.
  for (const { pid } of await workersOf(web)) process.kill(pid, "SIGKILL");
  t.match(await call({ port: upstream }), { status: 200 });
  t.equal(await counted(web, "remora_worker_restarts_total"), 3);
});

t.test("a worker that hangs is left out and named", { timeout: 60_000 }, async (t) => {
  const { web, upstream } = await mesh(t);
  for (let i = 0; i < 6; i++) await call({ port: upstream });
  const total = () => counted(web, "envoy_http_downstream_rq_total");
  t.equal(await total(), 6);
  const [hanging] = await workersOf(web);
  process.kill(hanging?.pid ?? 0, "SIGSTOP");
  t.equal(await total(), 6, "its last counts stay");
  t.match(
    (await workersOf(web)).map(({ state }) => state),
    ["silent", "ready"],
  );
  t.match(
    web.logged.join("\n"),
    `warn a worker does not answer: the admin API shows what the others say {"worker":1,"pid":${hanging?.pid}}`,
  );
  process.kill(hanging?.pid ?? 0, "SIGCONT");
  await until(
    "it answers again",
    async () => (await total()) === 6 && (await workersOf(web))[0]?.state === "ready",
  );
});

t.test(
  "drain finishes what is under way in all workers, and accepts no more",
  { timeout: 60_000 },
  async (t) => {
    const held: ServerResponse[] = [];
    const { api, upstream } = await mesh(t, (_, response) => void held.push(response));
    const calls = Array.from({ length: 6 }, () => call({ port: upstream, agent: client(t) }));
    await until("all are under way", () => held.length === 6);
    const drained = api.drainInbound();
    await until(
      "the port is closed",
      () =>
        new Promise<boolean>((resolve) => {
          const socket = net.connect(api.ports.inbound, "127.0.0.1");
          socket.once("connect", () => resolve(socket.destroy() === undefined));
          socket.once("error", () => resolve(true));
        }),
    );
    t.match(await call({ port: api.ports.admin, path: "/ready" }), { status: 503, body: /^DRAINING/ });
    for (const response of held) response.end("done");
    t.same(
      (await Promise.all(calls)).map(({ status }) => status),
      Array(6).fill(200),
    );
    await drained;
  },
);

t.test("raw TCP: half-closed connections pass through workers", { timeout: 60_000 }, async (t) => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.write("hello\n"); // speaks first
    let size = 0;
    socket.on("data", (chunk) => (size += chunk.length)).on("error", () => undefined);
    socket.on("end", () => socket.end(`got ${size}\n`));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const asTcp = (snapshot: Snapshot): Snapshot => ({
    ...snapshot,
    inbound: { ...snapshot.inbound, protocol: "tcp" },
    clusters: snapshot.clusters.map((cluster) => ({ ...cluster, protocol: "tcp" })),
  });
  const appPort = (server.address() as AddressInfo).port;
  const saved = asTcp(snapshotTo([], { services: [] }));
  const api = await startFromDisk(t, "api", { workers: 2, appPort, saved });
  const web = await startFromDisk(t, "web", {
    workers: 2,
    upstreams: [
      { service: "api", port: 0 },
      { service: "gone", port: 0 },
    ],
    saved: asTcp(snapshotTo([api.ports.inbound])),
  });
  t.same([...web.tcpUpstreams], ["api"], "it knows which upstreams speak TCP");
  for (const sidecar of [api, web]) await sidecar.missing.until((missing) => missing.length === 0);
  const heard = await Promise.all(
    Array.from({ length: 6 }, async (_, n) => {
      const port = web.ports.upstreams.get("api") ?? 0;
      const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      t.teardown(() => socket.destroy());
      let text = "";
      socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      socket.end(Buffer.alloc(n * 100_000));
      await once(socket, "end");
      return text;
    }),
  );
  t.same(
    heard,
    Array.from({ length: 6 }, (_, n) => `hello\ngot ${n * 100_000}\n`),
  );
  await until(
    "both ends are counted",
    async () => (await counted(web, "istio_tcp_connections_closed_total")) === 6,
  );
  const received = await counted(web, "istio_tcp_received_bytes_total");
  t.equal(received, 1_500_000, "by all workers together");
});

t.test("mistakes of the operator are told as by one process", { timeout: 60_000 }, async (t) => {
  const taken = net.createServer().listen(0, "127.0.0.1");
  t.teardown(() => taken.close());
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as AddressInfo;
  const text = (workers: number, change: object): Promise<string> =>
    startFromDisk(t, "web", { workers, ...change }).then(
      () => "started",
      (error: unknown) => (error instanceof ConfigError ? error.message : String(error)),
    );
  for (const change of [
    { inboundPort: port },
    { upstreams: [{ service: "api", port }] },
    { adminPort: port },
  ]) {
    const alone = await text(1, change);
    t.match(alone, String(port));
    t.equal(await text(2, change), alone);
  }
  const file = path.join(await temporaryFolder(t), "no", "such", "folder");
  const accessLog = { format: "json", path: file };
  t.equal(await text(2, { accessLog }), await text(1, { accessLog }));
});

t.test("limits of the service are divided, and the parts make the whole", async (t) => {
  const snapshot = snapshotTo([1]);
  for (const count of [2, 3, 7]) {
    for (const maxRequests of [1, 5, 1024]) {
      const clusters = snapshot.clusters.map((cluster) => ({
        ...cluster,
        maxRequests,
        maxRetries: maxRequests,
      }));
      const whole = { ...snapshot, clusters, inbound: { ...snapshot.inbound, maxRequests } };
      const parts = Array.from({ length: count }, (_, i) => shareOf(whole, { worker: i + 1, count }));
      const sum = (of: (part: Snapshot) => number): number => parts.reduce((all, part) => all + of(part), 0);
      t.equal(
        sum(({ inbound }) => inbound.maxRequests),
        Math.max(count, maxRequests),
      );
      t.equal(
        sum(({ clusters: [first] }) => first?.maxRequests ?? 0),
        Math.max(count, maxRequests),
      );
      t.equal(
        sum(({ clusters: [first] }) => first?.maxRetries ?? 0),
        Math.max(count, maxRequests),
      );
    }
  }
  const bulkheads = {
    critical: { maxRequests: 9, maxPending: 0, maxWaitMs: 0 },
    batch: { maxPending: 4, maxWaitMs: 5 },
  };
  const adaptive = { minLimit: 4, maxLimit: 10, tolerance: 1.5, windowMs: 250 };
  const shedding = { defaultSharePercent: 85, batchSharePercent: 60, adaptive, source: "" };
  const classes = {
    ...snapshot,
    clusters: snapshot.clusters.map((cluster) => ({ ...cluster, bulkheads })),
    inbound: { ...snapshot.inbound, shedding },
  };
  const part = shareOf(classes, { worker: 1, count: 4 });
  t.match(part.inbound.shedding?.adaptive, { minLimit: 1, maxLimit: 3, tolerance: 1.5 });
  t.same(part.clusters[0]?.bulkheads, {
    critical: { maxRequests: 3, maxPending: 0, maxWaitMs: 0 },
    batch: { maxPending: 1, maxWaitMs: 5 },
  });
  const unlimited = { ...snapshot, inbound: { ...snapshot.inbound, maxRequests: 0 } };
  t.equal(shareOf(unlimited, { worker: 1, count: 4 }).inbound.maxRequests, 0, "0 = no limit stays so");
  const [inbound] = fc
    .sample(arbitrarySnapshot, { numRuns: 50, seed: 1 })
    .map((each) => each.inbound)
    .filter(({ rules }) => rules?.[0]?.rateLimits !== undefined);
  const limited = { ...snapshot, inbound: inbound ?? snapshot.inbound };
  const { rules } = shareOf(limited, { worker: 2, count: 4 }).inbound;
  t.match(rules?.[0]?.rateLimits, [{ ...inbound?.rules?.[0]?.rateLimits?.[0], processes: 4 }]);
});

t.test("who takes a connection", async (t) => {
  const worker = (name: string, handing: number, a: number) => ({
    name,
    handing,
    connections: new Map([["a", a]]),
  });
  const chosen = (turn: number, ...workers: ReturnType<typeof worker>[]) => spread(workers, "a", turn)?.name;
  t.equal(chosen(0), undefined);
  t.equal(chosen(0, worker("x", 0, 1), worker("y", 0, 0)), "y", "the one with fewer connections");
  t.equal(chosen(0, worker("x", 0, 0), worker("y", 0, 0)), "x");
  t.equal(chosen(1, worker("x", 0, 0), worker("y", 0, 0)), "y", "in turn");
  t.equal(
    chosen(0, worker("x", 1, 0), worker("y", 0, 9)),
    "y",
    "not one that does not take what it was sent",
  );
  t.equal(spread([worker("x", 0, 9), worker("y", 0, 0)], "b", 0)?.name, "x", "each listener by itself");
});

t.test("admin views of several workers are merged", async (t) => {
  const endpoint = (isHealthy: boolean, stats: Record<string, number>): EndpointView => ({
    ...{ address: "10.0.0.1", port: 1, isHealthy, weight: 1, zone: "", stats },
    healthFlags: isHealthy ? "healthy" : "/failed_outlier_check (open)",
  });
  const view = (...endpoints: EndpointView[]): ClusterView[] => [{ name: "api", settings: {}, endpoints }];
  const [merged] = mergeClusters([
    view(endpoint(true, { rq_active: 2, latency_ms: 5, ejected_for_ms: 0 })),
    view(endpoint(false, { rq_active: 3, latency_ms: 1, ejected_for_ms: 100 }), {
      ...endpoint(true, {}),
      port: 2,
    }),
    [],
  ]);
  t.match(merged?.endpoints, [
    {
      isHealthy: false,
      healthFlags: "/failed_outlier_check (open)",
      stats: { rq_active: 5, latency_ms: 5, ejected_for_ms: 100 },
    },
    { port: 2, isHealthy: true },
  ]);
});

t.test("metrics of several workers are one, whatever becomes of them", async (t) => {
  const own = new Metrics();
  const [one, two] = [new Metrics(), new Metrics()];
  const cluster = {
    ...{ local_cluster: "web", envoy_cluster_name: "api.default", consul_source_service: "web" },
    ...{ consul_destination_service: "api", consul_destination_datacenter: "dc1" },
  };
  for (const [metrics, count, healthy] of [
    [one, 3, 2],
    [two, 4, 1],
  ] as const) {
    metrics.upstreamRequests.cell(cluster).value = count;
    metrics.upstreamRequestsActive.cell(cluster).value = count;
    metrics.membershipHealthy.cell(cluster).value = healthy;
    metrics.membershipTotal.cell(cluster).value = 2;
    for (let i = 0; i < count; i++) metrics.upstreamRequestTime.cell(cluster).observe(i);
  }
  let answering: readonly Metrics[] = [one, two];
  const all = new WorkerMetrics<Metrics>(own, () =>
    Promise.resolve(
      [one, two].map((each) => [
        each,
        answering.includes(each) ? { families: each.state(), process: [] } : undefined,
      ]),
    ),
  );
  const read = async (name: string): Promise<number | undefined> => {
    const family = parsePrometheusText(await all.text()).get(name);
    return family?.samples.find((sample) => sample.name === name || sample.name.endsWith("_count"))?.value;
  };
  t.equal(await read("envoy_cluster_upstream_rq_total"), 7);
  t.equal(await read("envoy_cluster_upstream_rq_time"), 7);
  t.equal(await read("envoy_cluster_upstream_rq_active"), 7, "sum");
  t.equal(await read("envoy_cluster_membership_healthy"), 1, "min");
  t.equal(await read("envoy_cluster_membership_total"), 2, "max");
  answering = [one];
  t.equal(await read("envoy_cluster_upstream_rq_total"), 7, "the last word of who does not answer");
  t.equal(await read("envoy_cluster_upstream_rq_active"), 3, "gauges only of who answers");
  all.gone(two);
  t.equal(await read("envoy_cluster_upstream_rq_total"), 7, "of who is gone");
  answering = [one, two];
  t.equal(await read("envoy_cluster_upstream_rq_total"), 7, "an answer that comes too late counts once");
});
