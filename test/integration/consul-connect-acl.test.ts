// # runs beside others
/** Consul's service mesh with ACLs: whose token may be which service, and what goes on without Consul. */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import t, { type Test } from "tap";
import { metric, startMesh, type CliMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { skipWithoutConsul, startConsulAgent, type ConsulAgent } from "../support/consul-agent.js";
import { consulCall, registerService, startApp } from "../support/consul-connect.js";
import { freePort } from "../support/free-port.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

const skip = skipWithoutConsul();

/** A token with these rules. */
async function tokenFor(agent: ConsulAgent, manager: string, name: string, rules: string): Promise<string> {
  await consulCall(agent, "PUT", "/v1/acl/policy", { Name: name, Rules: rules }, manager);
  const made = await consulCall(agent, "PUT", "/v1/acl/token", { Policies: [{ Name: name }] }, manager);
  return (made as { readonly SecretID: string }).SecretID;
}

const readAll =
  'service_prefix "" { policy = "read" intentions = "read" } node_prefix "" { policy = "read" }';
const write = (...names: readonly string[]): string =>
  names.map((name) => `service "${name}" { policy = "write" }`).join(" ");

interface Secured {
  readonly agent: ConsulAgent;
  readonly mesh: CliMesh;
  readonly manager: string;
  /** Files. */
  readonly tokens: Readonly<Record<"control-plane" | "web" | "api", string>>;
  /** Of the control plane. */
  readonly flags: readonly string[];
}

/** Consul with ACLs and default deny, a control plane of its mesh, `web` calling `api`, both registered. */
async function startSecured(t: Test, ports: Ports): Promise<Secured> {
  const agent = await startConsulAgent({ hasAcls: true });
  t.teardown(() => agent.stop());
  const { SecretID: manager } = await until("ACLs", async () => {
    const made = await consulCall(agent, "PUT", "/v1/acl/bootstrap");
    return made as { readonly SecretID: string };
  });
  const dir = t.testdir({});
  const save = async (name: string, rules: string): Promise<string> => {
    const file = path.join(dir, name);
    await writeFile(file, await tokenFor(agent, manager, name, rules), { mode: 0o600 });
    return file;
  };
  const tokens = {
    "control-plane": await save("control-plane", `${write("remora-control-plane")} ${readAll}`),
    web: await save("web", `${write("web", "web-sidecar-proxy")} ${readAll}`),
    api: await save("api", `${write("api", "api-sidecar-proxy")} ${readAll}`),
  };
  const { webApp, webSidecar, webToApi, apiApp, apiSidecar } = ports;
  const web = { name: "web", app: webApp, sidecar: webSidecar, upstreams: { api: webToApi } };
  await registerService(agent, web, manager);
  await registerService(agent, { name: "api", app: apiApp, sidecar: apiSidecar }, manager);
  const flags = ["--consul", agent.url, "--ca", "consul", "--consul-token-file", tokens["control-plane"]];
  const mesh = await startMesh(t, { controlPlane: flags });
  await startApp(t, mesh, "web", webApp);
  await startApp(t, mesh, "api", apiApp);
  return { agent, mesh, manager, tokens, flags };
}

const portNames = [
  "webApp",
  "webSidecar",
  "webToApi",
  "webAdmin",
  "apiApp",
  "apiSidecar",
  "apiAdmin",
] as const;
type Ports = Readonly<Record<(typeof portNames)[number], number>>;
const ports = Object.fromEntries(
  await Promise.all(portNames.map(async (name) => [name, await freePort()] as const)),
) as Ports;

t.test("a token's own rights decide which service it may be, and who may call whom", { skip }, async (t) => {
  const { agent, mesh, manager, tokens } = await startSecured(t, ports);
  const { webToApi, webAdmin, apiAdmin } = ports;
  const sidecar = (service: string, tokenFile: string, admin: number, name = service): readonly string[] => [
    ...["sidecar", "--for", service, "--consul", agent.url, "--consul-token-file", tokenFile],
    ...["--control-plane", mesh.controlPlane, "--admin", `${admin}`, "--drain-delay", "0s"],
    ...["--state-dir", path.join(mesh.dir, `state-${name}`), "--ready-timeout", "20s"],
  ];
  const wrong = await runRemora({ args: sidecar("web", tokens.api, 0, "wrong") });
  t.equal(wrong.code, 1);
  t.match(
    wrong.err,
    /consul refuses a certificate for web \(403\): its token needs service:write for web/,
    "another service's token",
  );
  t.equal(
    wrong.err
      .trim()
      .split("\n")
      .filter((line) => line.startsWith("remora:")).length,
    1,
    "one line",
  );
  const unknown = path.join(mesh.dir, "unknown");
  await writeFile(unknown, "11111111-2222-3333-4444-555555555555\n", { mode: 0o600 });
  const refused = await runRemora({ args: sidecar("web", unknown, 0, "unknown") });
  t.equal(refused.code, 1);
  t.match(refused.err, /^remora: --for: consul at .* answered 403/m, "no token at all");
  t.notMatch(`${wrong.err}${refused.err}`, "11111111", "the token is not shown");

  const api = mesh.start("api", sidecar("api", tokens.api, apiAdmin));
  const web = mesh.start("web", sidecar("web", tokens.web, webAdmin));
  for (const admin of [apiAdmin, webAdmin])
    await until(
      "a sidecar that is ready",
      async () => (await call({ port: admin, path: "/ready" })).status === 200,
    );
  const status = async (): Promise<number> => (await call({ port: webToApi })).status;
  await until("nobody may call: Consul's default is deny", async () => (await status()) === 403);
  t.equal(JSON.parse((await call({ port: ports.apiApp, path: "/count" })).body).served, 0);
  const intention = { SourceName: "web", DestinationName: "api", Action: "allow" };
  await consulCall(agent, "POST", "/v1/connect/intentions", intention, manager);
  await until("web may call", async () => (await status()) === 200);
  const { body } = await call({ port: webToApi });
  t.match(JSON.parse(body), { instance: "api" });
  t.match(
    (JSON.parse(body) as { readonly caller: string }).caller,
    /\.consul\/ns\/default\/dc\/dc1\/svc\/web$/,
  );
  t.ok(await metric(webAdmin, "envoy_cluster_upstream_cx_http2_total"), "two of ours speak HTTP/2");

  t.test("without Consul everything goes on", async (t) => {
    const load = startLoad(t, 40, () => ({ port: webToApi }));
    await until("some requests", () => load.sent > 40);
    await agent.halt(true);
    const atHalt = load.sent;
    await until("requests without Consul", () => load.sent > atHalt + 120);
    t.ok(api.isRunning);
    // The control plane too: it starts with the certificate that it has kept.
    await mesh.controlPlaneProcess?.stop();
    const controlPlane = mesh.start("control-plane", [
      ...["control-plane", "--data-dir", mesh.dataDir, "--listen", mesh.controlPlane],
      ...["--admin", `127.0.0.1:${mesh.adminPort}`, "--consul", agent.url, "--ca", "consul"],
      ...["--consul-token-file", tokens["control-plane"]],
    ]);
    const told = async (): Promise<boolean> =>
      (await call({ port: mesh.adminPort, path: "/ready" })).body.includes("could not be read yet");
    await until("a control plane that waits for Consul", told);
    t.ok(controlPlane.isRunning);
    const { sent, succeeded, failures } = await load.stop();
    t.same(failures, [], `${succeeded} of ${sent}`);
    await web.stop();
    const again = mesh.start("web-again", sidecar("web", tokens.web, webAdmin));
    await until("a sidecar that starts without Consul", async () => (await status()) === 200);
    t.match(again.log, "starting with the registration that was read last");
  });
});
