/** A service mesh of Consul's for tests: registered sidecars, Consul's built-in proxy, plain applications, changes of the CA. */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { meshApp, type CliMesh, type MeshOwner } from "./cli-mesh.js";
import { consulBinary, type ConsulAgent } from "./consul-agent.js";
import { call } from "./http-load.js";
import { until } from "./until.js";

export interface RegisteredService {
  readonly name: string;
  /** The application's port. */
  readonly app: number;
  /** The sidecar's public port. */
  readonly sidecar: number;
  /** Key: service. Value: local port. */
  readonly upstreams?: Readonly<Record<string, number>>;
  /** Metadata; undefined: none. */
  readonly protocol?: string | undefined;
}

/** A call of Consul's HTTP API; throws unless it answers 200. */
export async function consulCall(
  agent: Pick<ConsulAgent, "url">,
  method: string,
  target: string,
  body?: object,
  token?: string,
): Promise<unknown> {
  const port = Number(new URL(agent.url).port);
  const text = body === undefined ? {} : { body: JSON.stringify(body) };
  const headers = token === undefined ? {} : { headers: { "x-consul-token": token } };
  const answer = await call({ port, method, path: target, ...text, ...headers });
  if (answer.status !== 200) throw new Error(`${method} ${target}: ${answer.status} ${answer.body}`);
  return answer.body === "" ? undefined : JSON.parse(answer.body);
}

/** Registers a service with its sidecar, as an operator of Consul's mesh does. */
export async function registerService(
  agent: ConsulAgent,
  { name, app, sidecar, upstreams = {}, ...more }: RegisteredService,
  token?: string,
): Promise<void> {
  const protocol = "protocol" in more ? more.protocol : "http";
  const check = { Name: "listens", TCP: `127.0.0.1:${sidecar}`, Interval: "500ms", Status: "passing" };
  const proxy = {
    Upstreams: Object.entries(upstreams).map(([DestinationName, LocalBindPort]) => ({
      DestinationName,
      LocalBindPort,
    })),
  };
  await consulCall(
    agent,
    "PUT",
    "/v1/agent/service/register",
    {
      ...{
        ID: name,
        Name: name,
        Port: app,
        Address: "127.0.0.1",
        Meta: protocol === undefined ? {} : { protocol },
      },
      Connect: { SidecarService: { Port: sidecar, Address: "127.0.0.1", Checks: [check], Proxy: proxy } },
    },
    token,
  );
}

/** `consul connect proxy -sidecar-for <name>`; ends with the test. */
export function startBuiltInProxy(
  t: MeshOwner,
  agent: ConsulAgent,
  name: string,
  token?: string,
): ChildProcess {
  const at = new URL(agent.url).host;
  const child = spawn(
    consulBinary() ?? "consul",
    ["connect", "proxy", `-http-addr=${at}`, `-sidecar-for=${name}`, "-log-level=info"],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, GOMAXPROCS: "2", ...(token === undefined ? {} : { CONSUL_HTTP_TOKEN: token }) },
    },
  );
  let output = "";
  const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-4000));
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  t.teardown(async () => {
    if (!t.passing()) for (const line of output.split("\n")) t.comment(`${name}'s proxy: ${line}`);
    await end(child);
  });
  return child;
}

/** The mesh tests' application without any sidecar; ends with the test. */
export async function startApp(
  t: MeshOwner,
  mesh: CliMesh,
  name: string,
  port: number,
): Promise<ChildProcess> {
  const [program = "", ...args] = meshApp;
  const env = { ...process.env, PORT: `${port}`, NAME: name, LEDGER: mesh.ledger };
  const child = spawn(program, args, { stdio: ["pipe", "ignore", "ignore"], env });
  t.teardown(() => end(child));
  await until(`${name}'s application`, async () => (await call({ port, path: "/count" })).status === 200);
  return child;
}

/** A new root, which Consul signs with the old one and trusts beside it. */
export async function rotateConsulCa(agent: ConsulAgent, token?: string): Promise<void> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const PrivateKey = privateKey.export({ type: "sec1", format: "pem" });
  const Config = { PrivateKey, LeafCertTTL: "72h", IntermediateCertTTL: "8760h", RotationPeriod: "2160h" };
  await consulCall(agent, "PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config }, token);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
