/** Two real Consul servers, joined over WAN: all of a service is gone in one datacenter, the other one serves, and the first again. */
import type { ChildProcess } from "node:child_process";
import t, { type Test } from "tap";
import type { SidecarView, StatusView } from "../../control-plane/admin/views.js";
import type { Snapshot } from "../../src/config/snapshot.js";
import { metric, readAdmin, startMesh, type Running, type SidecarOptions } from "../support/cli-mesh.js";
import {
  skipWithoutConsul,
  startConsulAgent,
  type ConsulAgent,
  type ConsulAgentOptions,
} from "../support/consul-agent.js";
import { consulCall, registerService, startApp, startBuiltInProxy } from "../support/consul-connect.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

const policy = (datacenter: string): string => `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  failover: [{ datacenter: ${datacenter} }]
  retry: { attempts: 3, on: [gateway-error, connect-failure, reset], backoff: { base: 1ms } }
  retryBudget: { percent: 100 }
  outlierDetection: { consecutive5xx: 3, baseEjectionTime: 1s }
`;

const longestMs = 200_000;
const options = { skip: skipWithoutConsul(), timeout: longestMs };
t.setTimeout(longestMs);

/** Servers of dc1 and dc2 that know each other. */
async function startDatacenters(
  t: Test,
  more: ConsulAgentOptions = {},
): Promise<readonly [near: ConsulAgent, far: ConsulAgent]> {
  const near = await startConsulAgent({ nodeName: "near", ...more });
  t.teardown(() => near.stop());
  const far = await startConsulAgent({ nodeName: "far", datacenter: "dc2", joinWan: [near], ...more });
  t.teardown(() => far.stop());
  await until("two datacenters that know each other", async () => {
    const names = (await consulCall(near, "GET", "/v1/catalog/datacenters")) as readonly string[];
    return names.includes("dc2");
  });
  return [near, far];
}

t.test("another datacenter serves while all of a service is gone in the own one", options, async (t) => {
  const [near, far] = await startDatacenters(t);
  const mesh = await startMesh(t, { controlPlane: ["--consul", near.url] });
  const join = (
    name: string,
    service: string,
    flags: readonly string[],
    more: Partial<SidecarOptions> = {},
  ): Promise<Running> => mesh.join({ name, service, flags, ...more });
  const [near1, near2, far1, far2, web] = await Promise.all([
    join("near-1", "api", ["--consul", near.url]),
    join("near-2", "api", ["--consul", near.url]),
    join("far-1", "api", ["--consul", far.url, "--advertise-wan", "127.0.0.1"]),
    join("far-2", "api", ["--no-register"]),
    join("web", "web", ["--consul", near.url], { upstreams: ["api"] }),
  ]);
  // Reached from elsewhere at other addresses and ports than at home.
  const wan = (Port: number) => ({ TaggedAddresses: { wan: { Address: "127.0.0.1", Port } } });
  const listens = { Name: "listens", TCP: `127.0.0.1:${far2.inbound}`, Interval: "500ms", Status: "passing" };
  await consulCall(far, "PUT", "/v1/agent/service/register", {
    ...{ ID: "far-2", Name: "api", Address: "10.255.255.1", Port: 1, ...wan(far2.app) },
    Connect: {
      SidecarService: { Address: "10.255.255.1", Port: 2, Checks: [listens], ...wan(far2.inbound) },
    },
  });
  await mesh.untilKnown(web, "api", [near1, near2]);
  const port = web.upstreams.get("api") ?? 0;
  /** Who answers twenty calls. */
  const answering = async (): Promise<readonly string[]> => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => call({ port })));
    const names = answers.map(({ status, body }) =>
      status === 200 ? (JSON.parse(body) as { readonly instance: string }).instance : `${status}`,
    );
    return [...new Set(names)].sort();
  };
  const datacenter = async (name: string) => {
    const { registry } = (await mesh.read("/v1/status")) as StatusView;
    return registry.datacenters?.find((each) => each.name === name);
  };
  const clusters = async (): Promise<string> => (await call({ port: web.admin, path: "/clusters" })).body;

  const wrong = await mesh.remora(["apply", "-f", "-"], policy("dc9"));
  t.equal(wrong.code, 0);
  t.match(wrong.out + wrong.err, /datacenter dc9 cannot be read.*No path to datacenter.*spelt right/s);
  t.match(await datacenter("dc9"), {
    isRead: false,
    stale: { reason: /No path to datacenter/ },
    services: [],
  });
  t.same(await answering(), ["near-1", "near-2"], "the rest is in force");

  const right = await mesh.remora(["apply", "-f", "-"], policy("dc2"));
  t.notMatch(right.out + right.err, /datacenter/, "nothing to warn of");
  const expected = [far1, far2].map(({ inbound }) => `api.default@dc2::127.0.0.1:${inbound}::weight::1`);
  await until("the other datacenter's instances", async () => {
    const text = await clusters();
    return expected.every((line) => text.includes(line));
  });
  t.ok((await clusters()).includes("api.default@dc2::datacenter::dc2\n"));
  const { body: dump } = await call({ port: web.admin, path: "/config_dump" });
  t.match(dump, /"datacenter":\s*"dc2"/);
  t.same(await answering(), ["near-1", "near-2"], "all is well: nothing leaves the datacenter");
  const { out: status } = await mesh.remora(["status"]);
  t.match(status, /datacenter {3}dc2, current, api\.default: 2 of 2 instances well/);

  const load = startLoad(t, 20, () => ({ port }));
  await Promise.all([near1, near2].map(({ process }) => process.kill()));
  await until("only the other datacenter", async () => (await answering()).join() === "far-1,far-2");
  const labels = { cluster: "api.default", to: "api.default@dc2" };
  t.ok((await metric(web.admin, "remora_failover_attempts_total", labels)) >= 20);
  const named = { envoy_cluster_name: "api.default@dc2", consul_destination_datacenter: "dc2" };
  t.ok((await metric(web.admin, "envoy_cluster_upstream_rq_xx", named)) >= 20, "metrics name the datacenter");

  // Not even a name is left of it here.
  await forget(near, "api");
  await until("a registry without it", async () => {
    const { registry } = (await mesh.read("/v1/status")) as StatusView;
    return registry.services === 1;
  });
  t.same(await answering(), ["far-1", "far-2"]);

  await far.halt(true);
  await until("a datacenter that cannot be read", async () => (await datacenter("dc2"))?.stale !== null);
  t.match(await datacenter("dc2"), { isRead: true, services: [{ instances: [{}, {}] }] });
  t.same(await answering(), ["far-1", "far-2"], "the last known endpoints stay");
  const { body: metrics } = await call({ port: mesh.adminPort, path: "/metrics" });
  t.match(metrics, /remora_cp_datacenter_stale_seconds\{datacenter="dc2"\} (?!0\n)/);
  await mesh.controlPlaneProcess?.kill();
  await mesh.startControlPlane();
  await until("a caller with the configuration of a control plane that could not read it", async () => {
    const { sidecars } = (await mesh.read("/v1/sidecars")) as { readonly sidecars: readonly SidecarView[] };
    return sidecars.some(({ service, state }) => service === "web" && state === "SYNCED");
  });
  t.match(await datacenter("dc2"), { isRead: true, stale: {}, services: [{ instances: [{}, {}] }] });
  t.same(await answering(), ["far-1", "far-2"], "and so they do over a restart");

  near1.process = mesh.run(near1);
  await until("only the own datacenter", async () => (await answering()).join() === "near-1");
  const { failures, sent } = await load.stop();
  t.same(failures, [], `none of ${sent} requests failed meanwhile`);

  await far.start();
  await until("a datacenter that can be read again", async () => (await datacenter("dc2"))?.stale === null);
  await until("its instances", async () => {
    const [api] = (await datacenter("dc2"))?.services ?? [];
    return api?.instances.filter(({ status }) => status === "passing").length === 2;
  });
});

t.test("with Consul's CA another datacenter proves its own identity", options, async (t) => {
  const [near, far] = await startDatacenters(t, { primaryDatacenter: "dc1" });
  const mesh = await startMesh(t, { controlPlane: ["--consul", near.url, "--ca", "consul"] });
  const api = async (agent: ConsulAgent, name: string): Promise<ChildProcess> => {
    const [app, sidecar] = [await mesh.freePort(), await mesh.freePort()];
    await registerService(agent, { name: "api", app, sidecar });
    await startApp(t, mesh, name, app);
    return startBuiltInProxy(t, agent, "api");
  };
  const nearProxy = await api(near, "near");
  await api(far, "far");
  const [port, admin] = [await mesh.freePort(), await mesh.freePort()];
  await registerService(near, {
    ...{ name: "web", app: await mesh.freePort(), sidecar: await mesh.freePort(), upstreams: { api: port } },
  });
  mesh.start("web", [
    ...["sidecar", "--for", "web", "--consul", near.url, "--control-plane", mesh.controlPlane],
    ...["--admin", `${admin}`, "--state-dir", `${mesh.dir}/web`, "--drain-delay", "0s"],
  ]);
  await mesh.apply(policy("dc2"));
  const answers = (name: string) => async (): Promise<boolean> => {
    const { status, body } = await call({ port }).catch(() => ({ status: 0, body: "" }));
    return status === 200 && (JSON.parse(body) as { readonly instance: string }).instance === name;
  };
  await until("the own datacenter's built-in proxy", answers("near"));
  nearProxy.kill("SIGKILL");
  await until("the other datacenter's", answers("far"));
  const { configs } = (await readAdmin(admin, "/config_dump")) as {
    readonly configs: { readonly snapshot: Pick<Snapshot, "clusters"> };
  };
  const identities = new Map(configs.snapshot.clusters.map((cluster) => [cluster.name, cluster.identities]));
  t.match(identities.get("api.default"), [/\/ns\/default\/dc\/dc1\/svc\/api$/]);
  t.match(identities.get("api.default@dc2"), [/\/ns\/default\/dc\/dc2\/svc\/api$/]);
});

/** Takes a service out of the registry, with its sidecars. */
async function forget(agent: ConsulAgent, service: string): Promise<void> {
  const all = (await consulCall(agent, "GET", "/v1/agent/services")) as Readonly<
    Record<string, { readonly ID: string; readonly Service: string }>
  >;
  for (const { ID, Service } of Object.values(all))
    if (Service === service || Service === `${service}-sidecar-proxy`)
      await consulCall(agent, "PUT", `/v1/agent/service/deregister/${ID}`);
}
