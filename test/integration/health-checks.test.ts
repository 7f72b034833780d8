// # runs beside others
/** Real processes: instances that only their callers find broken, over mTLS, while requests go on. */
import net from "node:net";
import t, { type Test } from "tap";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

t.test("an ill and a hung instance are found without a request of an application", async (t) => {
  const mesh = await startMesh(t);
  const names = ["api-1", "api-2", "api-3"];
  const [web, ...apis] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    ...names.map((name) =>
      mesh.join({ name, service: "api", flags: name === "api-3" ? ["--outbound", "off"] : [] }),
    ),
  ]);
  const [ill, hung, well] = apis as [Running, Running, Running];
  await mesh.untilKnown(web, "api", apis);
  await mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  loadBalancer: { policy: round_robin, locality: { panicThreshold: 0 } }
  outlierDetection: { consecutive5xx: 0, successRate: { minimumRatio: 0 } }
  healthChecks:
    - { http: { path: /health }, interval: 500ms, timeout: 400ms, unhealthyThreshold: 2, healthyThreshold: 2 }
`);
  const port = web.upstreams.get("api") ?? 0;
  const counted = (name: string): Promise<number> =>
    metric(web.admin, `envoy_cluster_health_check_${name}`, { envoy_cluster_name: "api.default" });
  await until("three healthy instances", async () => (await counted("healthy")) === 3);
  t.equal(await metric(web.admin, "envoy_cluster_upstream_rq_total"), 0, "checks are no requests");

  const attempts = ({ admin }: Running): Promise<number> =>
    metric(admin, "envoy_cluster_health_check_attempt", { envoy_cluster_name: "api.default" });
  await until("a check of one who may call any service", async () => (await attempts(ill)) > 0);
  t.equal(await attempts(well), 0, "who calls nobody checks nobody");

  const load = startLoad(t, 50, () => ({ port }));
  await call({ port: ill.app, method: "POST", path: "/health?status=500" });
  await until("two healthy instances", async () => (await counted("healthy")) === 2);
  const { body } = await call({ port: web.admin, path: "/clusters" });
  t.match(body, `api.default::127.0.0.1:${ill.inbound}::health_flags::/failed_active_hc (status 500)`);
  t.ok((await counted("failure")) >= 2 && (await counted("success")) > 0);
  const served = async ({ app }: Running): Promise<number> =>
    (JSON.parse((await call({ port: app, path: "/count" })).body) as { readonly served: number }).served;
  const before = await served(ill);
  const sent = load.sent;
  await until("more requests", () => load.sent > sent + 50);
  t.equal(await served(ill), before, "nothing goes to the ill one");
  t.match(await load.stop(), { failures: [] }, "nobody noticed");

  // Stopped, not gone: connections stay open, and nothing answers.
  const { pid } = hung.process;
  process.kill(pid, "SIGSTOP");
  t.teardown(() => process.kill(pid, "SIGCONT"));
  await until("one healthy instance", async () => (await counted("healthy")) === 1);
  const wellBefore = await served(well);
  for (let i = 0; i < 20; i++) t.equal((await call({ port })).status, 200);
  t.equal((await served(well)) - wellBefore, 20);

  process.kill(pid, "SIGCONT");
  await call({ port: ill.app, method: "POST", path: "/health?status=200" });
  await until("three healthy instances again", async () => (await counted("healthy")) === 3);
  for (let i = 0; i < 30; i++) t.equal((await call({ port })).status, 200);
  t.ok((await served(ill)) > before && (await served(hung)) > 0, "all take requests again");
});

/** A server of raw TCP that says its name and listens until it is told not to. */
async function listen(t: Test, port: number, name: string): Promise<{ close(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    socket.end(name);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(close);
  return { close };
}

/** What the server at the other end says first; "" when the connection does not come about. */
const greeting = (port: number): Promise<string> =>
  new Promise((resolve) => {
    let text = "";
    const socket = net.connect(port, "127.0.0.1").on("error", () => undefined);
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.once("close", () => resolve(text));
  });

t.test("a TCP server that is gone is found without a connection of a client", async (t) => {
  const mesh = await startMesh(t);
  const web = await mesh.join({ name: "web", service: "web", upstreams: ["db"] });
  const servers: { close(): void }[] = [];
  const dbs: Running[] = [];
  for (const name of ["db-1", "db-2"]) {
    const place = await mesh.place({ name, service: "db", command: [], flags: ["--protocol", "tcp"] });
    servers.push(await listen(t, place.app, name));
    dbs.push({ ...place, process: mesh.run(place) });
  }
  const [gone, stays] = dbs as [Running, Running];
  await mesh.untilKnown(web, "db", dbs);
  await mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: db }
spec:
  targetRefs: [{ kind: Service, name: db }]
  loadBalancer: { policy: round_robin, locality: { panicThreshold: 0 } }
  outlierDetection: { consecutive5xx: 0, successRate: { minimumRatio: 0 } }
  healthChecks: [{ tcp: {}, interval: 500ms, timeout: 400ms, unhealthyThreshold: 2, healthyThreshold: 1 }]
`);
  const healthy = (): Promise<number> =>
    metric(web.admin, "envoy_cluster_health_check_healthy", { envoy_cluster_name: "db.default" });
  await until("two healthy instances", async () => (await healthy()) === 2);
  t.equal(
    await metric(web.admin, "envoy_cluster_upstream_rq_total"),
    0,
    "checks are no connections of clients",
  );

  servers[0]?.close();
  await until("one healthy instance", async () => (await healthy()) === 1);
  const { body } = await call({ port: web.admin, path: "/clusters" });
  t.match(body, `db.default::127.0.0.1:${gone.inbound}::health_flags::/failed_active_hc`);
  t.notMatch(body, `db.default::127.0.0.1:${stays.inbound}::health_flags::/failed_active_hc`);
  const port = web.upstreams.get("db") ?? 0;
  for (let i = 0; i < 10; i++) t.equal(await greeting(port), "db-2");

  await listen(t, gone.app, "db-1");
  await until("two healthy instances again", async () => (await healthy()) === 2);
  const greetings = await Promise.all(Array.from({ length: 10 }, () => greeting(port)));
  t.same([...new Set(greetings)].sort(), ["db-1", "db-2"]);
});
