/** Real processes and a real Consul: zones with spill-over, then another service when all of one is gone; callers see nothing of it. */
import t from "tap";
import { metric, startMesh, type Running, type SidecarOptions } from "../support/cli-mesh.js";
import { skipWithoutConsul, startConsulAgent } from "../support/consul-agent.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

t.test("the own zone, then the others, then another service", { skip: skipWithoutConsul() }, async (t) => {
  // The zone of whoever is not given one.
  const agent = await startConsulAgent({ nodeMeta: { zone: "north" } });
  t.teardown(() => agent.stop());
  const mesh = await startMesh(t, { controlPlane: ["--consul", agent.url] });
  const join = (name: string, service: string, more: Partial<SidecarOptions> = {}): Promise<Running> => {
    const flags = ["--consul", agent.url, ...(more.flags ?? [])];
    return mesh.join({ name, service, ...more, flags });
  };
  const [north1, north2, south, backup, web] = await Promise.all([
    join("north-1", "api"),
    join("north-2", "api"),
    join("south", "api", { flags: ["--zone", "south"] }),
    join("backup", "backup"),
    join("web", "web", { upstreams: ["api"] }),
  ]);
  await mesh.untilKnown(web, "api", [north1, north2, south]);
  const port = web.upstreams.get("api") ?? 0;
  const { body } = await call({ port: web.admin, path: "/clusters" });
  const zones = [...body.matchAll(/^api\.default::127\.0\.0\.1:(\d+)::zone::(.*)$/gm)];
  t.same(
    Object.fromEntries(zones.map(([, inbound = "", zone]) => [inbound, zone])),
    { [north1.inbound]: "north", [north2.inbound]: "north", [south.inbound]: "south" },
    "by flag, else by the agent",
  );
  await mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  loadBalancer: { policy: random, locality: { preferLocal: true, spillover: 70 } }
  failover: [{ service: backup }]
  failoverThreshold: 0
  retry: { attempts: 3, on: [gateway-error, connect-failure, reset], backoff: { base: 1ms } }
  retryBudget: { percent: 100 }
  outlierDetection: { consecutive5xx: 3, baseEjectionTime: 60s }
`);
  const tally = async (count: number): Promise<Readonly<Record<string, number>>> => {
    const counts: Record<string, number> = {};
    const answers = await Promise.all(Array.from({ length: count }, () => call({ port })));
    for (const { status, body: text } of answers) {
      const name =
        status === 200 ? (JSON.parse(text) as { readonly instance: string }).instance : `${status}`;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  };
  await until("requests that stay in the zone", async () => (await tally(20))["south"] === undefined);
  const near = await tally(200);
  t.same(Object.keys(near).sort(), ["north-1", "north-2"], "all is well: nothing leaves the zone");

  const load = startLoad(t, 50, () => ({ port }));
  // Half of the zone is left: 50 * 100 / 70 = 71 % stay.
  await call({ port: north1.app, method: "POST", path: "/mode?status=503" });
  await until("the ejection of north-1", async () => {
    return (await metric(web.admin, "envoy_cluster_outlier_detection_ejections_active")) === 1;
  });
  await until("requests that leave the zone", async () => (await tally(20))["south"] !== undefined);
  const half = await tally(400);
  const stays = (half["north-2"] ?? 0) / 400;
  t.equal((half["north-2"] ?? 0) + (half["south"] ?? 0), 400, JSON.stringify(half));
  t.ok(stays > 0.6 && stays < 0.82, `${Math.round(stays * 100)} % stay in the zone`);
  const picks = (zone: string): Promise<number> => metric(web.admin, "remora_zone_picks_total", { zone });
  t.ok((await picks("own")) > (await picks("other")) && (await picks("other")) > 0);

  // The zone is gone, processes and all.
  await Promise.all([north1, north2].map(({ process }) => process.kill()));
  await until("only the other zone", async () => Object.keys(await tally(20)).join() === "south");
  // And so is the service, but the registry does not know yet.
  await call({ port: south.app, method: "POST", path: "/mode?status=503" });
  await until("only the other service", async () => Object.keys(await tally(20)).join() === "backup");
  await south.process.kill();
  t.same(await tally(100), { backup: 100 });
  const { failures, sent } = await load.stop();
  t.same(failures, [], `none of ${sent} requests failed meanwhile`);
  const labels = { cluster: "api.default", to: "backup.default" };
  t.ok((await metric(web.admin, "remora_failover_attempts_total", labels)) >= 100);
  t.ok(backup.process.isRunning);
});
