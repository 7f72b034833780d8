/**
 * `make example NAME=consul-mesh`: a service mesh of Consul's in which Remora stands beside `shop`, in place of
 * `consul connect envoy -sidecar-for shop`, and Consul's built-in proxy beside `stock`.
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { startConsul } from "../consul-server.js";
import { freePorts } from "../demo/free-ports.js";
import { start, startProgram, stopAll, until } from "../demo/processes.js";
import { programOnPath } from "../program-on-path.js";

const plainService = path.resolve(import.meta.dirname, "../plain-service.js");
const [api = 0, listen = 0, admin = 0] = await freePorts(3);
const [shop = 0, shopSidecar = 0, toStock = 0, stock = 0, stockSidecar = 0, toShop = 0] = await freePorts(6);
const agent = `http://127.0.0.1:${api}`;

/** Status and text; no connection is kept. */
function ask(
  port: number,
  target: string,
  method = "GET",
  body = "",
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: "127.0.0.1", port, path: target, method, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.once("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.once("error", reject);
      },
    );
    request.once("error", reject);
    request.end(body);
  });
}

/** Consul's HTTP API. */
async function consul(method: string, target: string, body?: object): Promise<string> {
  const { status, text } = await ask(api, target, method, body === undefined ? "" : JSON.stringify(body));
  if (status !== 200) throw new Error(`${method} ${target}: ${status} ${text}`);
  return text;
}

/** The registration that any mesh of Consul's has: a service, and a sidecar with upstreams. */
function register(
  name: string,
  port: number,
  sidecar: number,
  upstream: string,
  local: number,
): Promise<string> {
  const check = { Name: "listens", TCP: `127.0.0.1:${sidecar}`, Interval: "1s", Status: "passing" };
  const Proxy = { Upstreams: [{ DestinationName: upstream, LocalBindPort: local }] };
  return consul("PUT", "/v1/agent/service/register", {
    ...{ Name: name, ID: name, Port: port, Address: "127.0.0.1", Meta: { protocol: "http" } },
    Connect: { SidecarService: { Port: sidecar, Address: "127.0.0.1", Checks: [check], Proxy } },
  });
}

/** Asks until the answer is this one. */
function untilStatus(port: number, target: string, status: number): Promise<string> {
  return until(`${status} of port ${port}`, 30_000, async () => {
    const answer = await ask(port, target);
    return answer.status === status ? `${status} ${answer.text}` : undefined;
  });
}

async function show(dir: string): Promise<void> {
  await startConsul(dir, { port: api });
  await register("shop", shop, shopSidecar, "stock", toStock);
  await register("stock", stock, stockSidecar, "shop", toShop);
  for (const [name, port] of [
    ["shop", shop],
    ["stock", stock],
  ] as const)
    startProgram(dir, name, [process.execPath, plainService], { NAME: name, PORT: `${port}` });

  startProgram(dir, "stock-proxy", [
    ...[
      programOnPath("consul", "consul"),
      "connect",
      "proxy",
      `-http-addr=127.0.0.1:${api}`,
      "-sidecar-for=stock",
    ],
  ]);
  start(dir, "control-plane", [
    ...["control-plane", "--consul", agent, "--ca", "consul", "--data-dir", path.join(dir, "data")],
    ...["--listen", `127.0.0.1:${listen}`, "--admin", `127.0.0.1:${admin}`],
  ]);
  start(dir, "shop-sidecar", [
    ...["sidecar", "--for", "shop", "--consul", agent, "--control-plane", `127.0.0.1:${listen}`],
    ...["--state-dir", path.join(dir, "shop-state"), "--drain-delay", "0s"],
  ]);

  console.log(`shop (Remora) calls stock (Consul's proxy): ${await untilStatus(toStock, "/tea", 200)}`);
  console.log(`stock (Consul's proxy) calls shop (Remora): ${await untilStatus(toShop, "/orders", 200)}`);

  const intention = { SourceName: "stock", DestinationName: "shop" };
  const made = await consul("POST", "/v1/connect/intentions", { ...intention, Action: "deny" });
  const { ID: id } = JSON.parse(made) as { readonly ID: string };
  console.log(`an intention denies it: ${(await untilStatus(toShop, "/", 403)).split("\n")[0]}`);
  await consul("PUT", `/v1/connect/intentions/${id}`, { ...intention, Action: "allow" });
  console.log(`it allows it again: ${await untilStatus(toShop, "/", 200)}`);

  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const PrivateKey = privateKey.export({ type: "sec1", format: "pem" });
  await consul("PUT", "/v1/connect/ca/configuration", {
    Provider: "consul",
    Config: { PrivateKey, LeafCertTTL: "72h", IntermediateCertTTL: "8760h", RotationPeriod: "2160h" },
  });
  let answered = 0;
  for (let n = 0; n < 50; n++) {
    const { status } = await ask(n % 2 === 0 ? toShop : toStock, "/");
    if (status === 200) answered++;
  }
  console.log(`a new CA: ${answered} of 50 answered`);
}

const dir = await mkdtemp(path.join(tmpdir(), "remora-example-"));
try {
  await show(dir);
} catch (error) {
  process.exitCode = 1;
  console.error(`Not seen: ${error instanceof Error ? error.message : String(error)}`);
  console.error(`Logs: ${dir}`);
}
await stopAll();
if (process.exitCode !== 1) await rm(dir, { recursive: true, force: true });
