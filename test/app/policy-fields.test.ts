/** Settings of clusters on real sockets, through the snapshot file as they come over the wire. */
import http, { type Server } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { ClusterConfig } from "../../src/config/snapshot.js";
import { call } from "../support/http-load.js";
import { snapshotTo, startFromDisk } from "../support/sidecar-kit.js";

async function application(t: Test, failsEvery = Infinity) {
  const counts = { requests: 0, connections: 0 };
  const server: Server = http.createServer((_, response) => {
    response.statusCode = ++counts.requests % failsEvery === 0 ? 500 : 200;
    response.end();
  });
  server.on("connection", () => counts.connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, counts };
}

/** A sidecar that calls applications without one. */
async function caller(t: Test, ports: readonly number[], change: Partial<ClusterConfig>) {
  const snapshot = snapshotTo(ports, {}, { meshed: false });
  const clusters = snapshot.clusters.map((cluster) => ({
    ...cluster,
    mtlsMode: "PERMISSIVE" as const,
    loadBalancer: { policy: "round_robin" as const, panicThresholdPercent: 0 },
    ...change,
  }));
  const web = await startFromDisk(t, "web", {
    upstreams: [{ service: "api", port: 0 }],
    saved: { ...snapshot, clusters },
  });
  return { web, port: web.ports.upstreams.get("api") ?? 0 };
}

t.test("the instance that fails more often than the others is ejected, and no other", async (t) => {
  const apps = await Promise.all([5, 50, 50, 50, 50, 50].map((every) => application(t, every)));
  const { web, port } = await caller(
    t,
    apps.map((app) => app.port),
    {
      breaker: {
        ...clusterDefaults.breaker,
        consecutiveFailures: 0,
        minSuccessRatio: 0,
        baseEjectionMs: 60_000,
        outliers: { minHosts: 5, minRequests: 20, stdevFactor: 1.9 },
      },
    },
  );
  const opened = (): string[] => web.logged.filter((line) => line.includes("breaker open"));
  for (let n = 0; n < 5000 && opened().length === 0; n++) await call({ port });
  const [bad] = apps;
  t.equal(opened().length, 1);
  t.match(opened()[0], /"outlier"/);
  t.match(opened()[0], `:${bad?.port}`);
  const before = bad?.counts.requests;
  for (let n = 0; n < 30; n++) await call({ port });
  t.equal(bad?.counts.requests, before, "it gets nothing");
});

t.test("connections are replaced after maxRequestsPerConnection requests", async (t) => {
  const app = await application(t);
  const { port } = await caller(t, [app.port], { maxRequestsPerConnection: 4 });
  for (let n = 0; n < 20; n++) t.equal((await call({ port })).status, 200);
  t.same(app.counts, { requests: 20, connections: 5 });
});
