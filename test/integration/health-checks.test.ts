/** Real processes: instances that only their callers find broken, over mTLS, while requests go on. */
import t from "tap";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

t.test("an ill and a hung instance are found without a request of an application", async (t) => {
  const mesh = await startMesh(t);
  const names = ["api-1", "api-2", "api-3"];
  const [web, ...apis] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    ...names.map((name) => mesh.join({ name, service: "api" })),
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
