/** Real processes with a real Consul: README's quick start as it is written, and what the registry says taking effect. */
import { chmod, mkdir, readFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import t, { type Test } from "tap";
import { endpointPorts, meshApp, startMesh, type CliMesh, type Running } from "../support/cli-mesh.js";
import type { CliProcess } from "../support/cli-process.js";
import { skipWithoutConsul, startConsulAgent, type ConsulAgent } from "../support/consul-agent.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

/** Endpoints are right within a second of a change. */
const promisedMs = 1000;
const root = path.resolve(import.meta.dirname, "../../..");

const skip = skipWithoutConsul();

async function startConsul(t: Test): Promise<ConsulAgent> {
  const agent = await startConsulAgent();
  t.teardown(() => agent.stop());
  return agent;
}

/** A call of Consul's HTTP API. */
async function consul(agent: ConsulAgent, method: string, target: string, body?: object): Promise<unknown> {
  const port = Number(new URL(agent.url).port);
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const answer = await call({ port, method, path: target, ...text });
  if (answer.status !== 200) throw new Error(`${method} ${target}: ${answer.status} ${answer.body}`);
  return answer.body === "" ? undefined : JSON.parse(answer.body);
}

/** Ids of the services that are registered with the agent. */
async function registered(agent: ConsulAgent): Promise<readonly string[]> {
  return Object.keys((await consul(agent, "GET", "/v1/agent/services")) as object).sort();
}

t.test("the quick start of README works as it is written", { skip }, async (t) => {
  const agent = await startConsul(t);
  const mesh = await startMesh(t);
  const text = await readFile(path.join(root, "README.md"), "utf8");
  const [block = ""] = [...text.matchAll(/^```sh\n(.*?)^```/gms)]
    .map(([, inside = ""]) => inside)
    .filter((inside) => inside.includes("control-plane --consul"));
  const [controlPlane = [], apiToken = [], api = [], webToken = [], web = []] = commandsOf(block);
  const [apiPort, webPort, upstream] = [await mesh.freePort(), await mesh.freePort(), await mesh.freePort()];
  const [listen, admin] = [await mesh.freePort(), await mesh.freePort()];
  const home = path.join(mesh.dir, "home");
  await mkdir(home);
  await chmod(home, 0o700);
  // What a machine of its own would have: Consul and the services where the text says they are.
  const here = (words: readonly string[]): readonly string[] => {
    const at = words.indexOf("--");
    const flags = (at === -1 ? words : words.slice(0, at)).map((word) =>
      word
        .replace("http://127.0.0.1:8500", agent.url)
        .replace(/^8081$/, `${apiPort}`)
        .replace(/^8080$/, `${webPort}`)
        .replace("api:9001", `api:${upstream}`)
        .replace(/^(\w+\.token)$/, path.join(mesh.dir, "$1")),
    );
    return at === -1 ? flags : [...flags, "--", ...meshApp];
  };
  const env = { HOME: home, REMORA_CONTROL_PLANE: `127.0.0.1:${listen}`, REMORA_DRAIN_DELAY: "0s" };
  const client = { HOME: home, REMORA_ADMIN_URL: `http://127.0.0.1:${admin}` };
  const run = async (words: readonly string[]): Promise<void> => {
    const { code } = await mesh.start("client", here(words), client).exited;
    t.equal(code, 0, words.join(" "));
  };

  mesh.start("quick-start", here(controlPlane), {
    HOME: home,
    REMORA_LISTEN: `127.0.0.1:${listen}`,
    REMORA_ADMIN: `127.0.0.1:${admin}`,
  });
  await until("the control plane", async () => (await call({ port: admin, path: "/ready" })).status === 200);
  await run(apiToken);
  mesh.start("api", here(api), { ...env, PORT: `${apiPort}`, NAME: "api" });
  await run(webToken);
  const webProcess = mesh.start("web", here(web), { ...env, PORT: `${webPort}`, NAME: "web" });
  const answer = await until("a call through the mesh", async () => {
    const { status, body } = await call({ port: upstream });
    return status === 200 ? body : undefined;
  });
  t.match(JSON.parse(answer), { instance: "api", caller: "spiffe://mesh.local/ns/default/svc/web" });
  const connect = (await consul(agent, "GET", "/v1/health/connect/api")) as readonly {
    readonly Service: { readonly Kind: string; readonly Proxy: { readonly LocalServicePort: number } };
    readonly Checks: readonly { readonly Status: string }[];
  }[];
  t.match(connect, [{ Service: { Kind: "connect-proxy", Proxy: { LocalServicePort: apiPort } } }]);
  await until("web in the registry", async () => (await registered(agent)).length === 4);
  t.same(await webProcess.stop(), { code: 0, signal: null });
  t.same(
    (await registered(agent)).filter((id) => id.startsWith("web")),
    [],
    "gone from the registry with its end",
  );
});

/** The commands of a shell block, without the word remora. */
function commandsOf(block: string): readonly (readonly string[])[] {
  return block
    .replaceAll(/\s*\n[ \t]+/g, " ")
    .split(/&&|\n/)
    .map((line) => line.trim())
    .filter((line) => line.startsWith("remora "))
    .map((line) => line.split(/\s+/).slice(1));
}

t.test("with Consul as the registry", { skip }, async (t) => {
  const agent = await startConsul(t);
  const mesh = await startMesh(t, { controlPlane: ["--consul", agent.url] });
  const flags = ["--consul", agent.url, "--check", "http:/health"];
  const [web, api1, api2] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api", "legacy", "own"], flags }),
    mesh.join({ name: "api-1", service: "api", flags }),
    mesh.join({ name: "api-2", service: "api", flags }),
  ]);
  const both = [api1, api2];
  await mesh.untilKnown(web, "api", both);
  const api = web.upstreams.get("api") ?? 0;
  const idOf = async ({ app }: Running): Promise<string> =>
    (await registered(agent)).find((id) => id.endsWith(`-${app}`)) ?? "";

  /** How long after `change` web's endpoints are `expected`, at best of three changes there and back. */
  const quickest = async (change: (there: boolean) => Promise<void>): Promise<number> => {
    const took: number[] = [];
    while (took.length < 3 && Math.min(...took) >= promisedMs) {
      await change(true);
      const startMs = performance.now();
      await mesh.untilKnown(web, "api", [api1]);
      took.push(performance.now() - startMs);
      await change(false);
      await mesh.untilKnown(web, "api", both);
    }
    return Math.min(...took);
  };

  await t.test("a failing check and maintenance take an instance out, and lose no request", async (t) => {
    const load = startLoad(t, 100, (n) =>
      n % 2 === 0 ? { port: api } : { port: api, method: "POST", body: `${n}` },
    );
    const id = await idOf(api2);
    const maintenance = await quickest(async (isOn) => {
      await consul(agent, "PUT", `/v1/agent/service/maintenance/${id}?enable=${isOn}`);
    });
    t.ok(maintenance < promisedMs, `maintenance: ${Math.round(maintenance)} ms`);
    const failing = await quickest(async (isFailing) => {
      const status = isFailing ? 503 : 200;
      await call({ port: api2.app, method: "POST", path: `/health?status=${status}` });
      await until("the check's verdict", async () => {
        const health = (await consul(agent, "GET", "/v1/health/checks/api")) as readonly {
          readonly ServiceID: string;
          readonly Status: string;
        }[];
        const mine = health.filter(({ ServiceID }) => ServiceID === id);
        return mine.some(({ Status }) => Status === "critical") === isFailing;
      });
    });
    t.ok(failing < promisedMs, `failing check: ${Math.round(failing)} ms`);
    const { sent, failures } = await load.stop();
    t.same(failures, [], `${sent} requests`);
  });

  await t.test("traffic goes on while the agent is down", async (t) => {
    const load = startLoad(t, 100, () => ({ port: api }));
    await agent.halt(true);
    const stale = await until("the control plane says so", async () => {
      const { registry } = (await mesh.read("/v1/status")) as {
        registry: { stale: { reason: string } | null };
      };
      return registry.stale ?? undefined;
    });
    t.ok(stale.reason);
    const from = load.sent;
    await until("load without an agent", () => load.sent > from + 200);
    t.same([...(await endpointPorts(web.admin, "api"))].sort(), both.map(({ inbound }) => inbound).sort());
    await agent.start();
    await until("a registry that is current", async () => {
      const { registry } = (await mesh.read("/v1/status")) as { registry: { stale: object | null } };
      return registry.stale === null;
    });
    await mesh.untilKnown(web, "api", both);
    const { sent, failures } = await load.stop();
    t.same(failures, [], `${sent} requests`);
  });

  await t.test("an instance without a sidecar is refused unless a policy permits plaintext", async (t) => {
    const legacy = http.createServer((request, response) => void response.end(request.url));
    await new Promise<void>((resolve) => legacy.listen(0, "127.0.0.1", resolve));
    t.teardown(() => legacy.close());
    const { port } = legacy.address() as AddressInfo;
    await consul(agent, "PUT", "/v1/agent/service/register", {
      ...{ ID: "legacy-1", Name: "legacy", Port: port, Address: "127.0.0.1" },
    });
    const local = web.upstreams.get("legacy") ?? 0;
    const refused = await until("it is known", async () => {
      const answer = await call({ port: local });
      return answer.error === "plaintext_refused" ? answer : undefined;
    });
    t.equal(refused.status, 503);
    t.match(refused.body, /legacy\.default: 1 of 1 instances have no sidecar/);
    t.match(
      (await mesh.remora(["check"])).out,
      new RegExp(`legacy-1 at 127\\.0\\.0\\.1:${port} has no sidecar`),
    );
    await mesh.apply(`apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: legacy}
spec: {targetRefs: [{kind: Service, name: legacy}], mtls: {mode: PERMISSIVE}}
`);
    const reached = await until("plaintext", async () => {
      const answer = await call({ port: local, path: "/bare" });
      return answer.status === 200 ? answer : undefined;
    });
    t.equal(reached.body, "/bare");
  });

  await t.test("--no-register leaves the registration to somebody else", async (t) => {
    const own = await mesh.join({ name: "own", service: "own", flags: ["--no-register"] });
    t.notOk((await registered(agent)).some((id) => id.startsWith("own")));
    await consul(agent, "PUT", "/v1/agent/service/register", {
      ...{ ID: "own-1", Name: "own", Port: own.app, Address: "127.0.0.1" },
      Connect: { SidecarService: { Port: own.inbound, Address: "127.0.0.1", Checks: [] } },
    });
    await mesh.untilKnown(web, "own", [own]);
    const answer = await call({ port: web.upstreams.get("own") ?? 0 });
    t.match(JSON.parse(answer.body), { instance: "own", caller: "spiffe://mesh.local/ns/default/svc/web" });
    await own.process.stop();
    t.same(
      (await registered(agent)).filter((id) => id.startsWith("own")),
      ["own-1", "own-1-sidecar-proxy"],
    );
  });

  await t.test("a stopped instance is deregistered", async (t) => {
    const id = await idOf(api2);
    t.not(id, "");
    t.same(await stopUnderLoad(t, mesh, web, api2.process, [api1]), []);
    t.notOk((await registered(agent)).some((other) => other.startsWith(id)));
  });
});

/** Failures of a load while an instance stops. */
async function stopUnderLoad(
  t: Test,
  mesh: CliMesh,
  web: Running,
  process: CliProcess,
  left: readonly Running[],
): Promise<readonly string[]> {
  const port = web.upstreams.get("api") ?? 0;
  const load = startLoad(t, 100, (n) => ({ port, method: "POST", body: `${n}` }));
  await until("load", () => load.sent > 50);
  await process.stop();
  await mesh.untilKnown(web, "api", left);
  return (await load.stop()).failures;
}
