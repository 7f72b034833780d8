/** A real Consul agent for tests: its own folder, its own ports, everything on loopback. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./free-port.js";

const root = path.resolve(import.meta.dirname, "../../..");
const startTimeoutMs = 20_000;

export interface ConsulAgentOptions {
  readonly nodeName?: string;
  readonly nodeMeta?: Readonly<Record<string, string>>;
  /** dc1 */
  readonly datacenter?: string;
  /** Whose CA is everybody's root, in the settings of all datacenters that share one. */
  readonly primaryDatacenter?: string;
  /** Servers of other datacenters that this one joins, now and whenever it starts again. */
  readonly joinWan?: readonly ConsulAgent[];
  /** ACLs with default policy deny; bootstrap them with PUT /v1/acl/bootstrap. */
  readonly hasAcls?: boolean;
  /** HTTPS beside HTTP, with a CA of its own. */
  readonly hasTls?: boolean;
}

export interface ConsulAgent {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly grpcPort: number;
  /** host:port that servers of other datacenters join. */
  readonly wanAddress: string;
  /** `https://127.0.0.1:<port>` and the CA to trust there; undefined without `hasTls`. */
  readonly https: { readonly url: string; readonly caFile: string } | undefined;
  /** Ends the process (SIGKILL when `hard`) and leaves folder and ports for restart(). */
  halt(hard?: boolean): Promise<void>;
  /** Starts it again: registrations survive in its folder, the servers' index begins anew. */
  start(): Promise<void>;
  restart(): Promise<void>;
  /** Halts and removes the folder. Idempotent. */
  stop(): Promise<void>;
}

/** Where the Consul program is: PATH, else what install-peers.sh unpacked; undefined when there is none. */
export function consulBinary(): string | undefined {
  const unpacked = path.join(root, ".cache/peers/bin/consul");
  const found = ["consul", unpacked].find((name) =>
    name === unpacked ? existsSync(name) : spawnSync(name, ["version"], { stdio: "ignore" }).status === 0,
  );
  return found;
}

/**
 * tap's `skip` option for tests that need Consul: false when it is there, else the reason. With CI=true it never
 * skips, so that the tests fail instead of passing unseen.
 */
export function skipWithoutConsul(): string | false {
  if (consulBinary() !== undefined || process.env["CI"] === "true") return false;
  return "no consul: run test/support/install-peers.sh consul, or put one on PATH";
}

/**
 * One in-memory server (`-dev`: elections take milliseconds) with a data folder, in which the agent keeps its
 * registrations over a restart.
 */
export async function startConsulAgent(options: ConsulAgentOptions = {}): Promise<ConsulAgent> {
  const binary = consulBinary();
  if (binary === undefined) throw new Error("no consul found: run test/support/install-peers.sh consul");
  const folder = mkdtempSync(path.join(os.tmpdir(), "remora-consul-"));
  const [httpPort, grpcPort, server] = [await freePort(), await freePort(), await freePort()];
  const [serfLan, serfWan, https] = [await freePort(), await freePort(), await freePort()];
  const hasTls = options.hasTls === true;
  const hasAcls = options.hasAcls === true;
  const config = {
    ports: {
      ...{ http: httpPort, https: hasTls ? https : -1, grpc: grpcPort, server },
      ...{ serf_lan: serfLan, serf_wan: serfWan, dns: -1 },
    },
    ...(options.datacenter === undefined ? {} : { datacenter: options.datacenter }),
    ...(options.primaryDatacenter === undefined ? {} : { primary_datacenter: options.primaryDatacenter }),
    retry_join_wan: (options.joinWan ?? []).map(({ wanAddress }) => wanAddress),
    retry_interval_wan: "1s",
    connect: { enabled: true },
    node_meta: options.nodeMeta ?? {},
    ...(hasAcls ? { acl: { enabled: true, default_policy: "deny" } } : {}),
    ...(hasTls ? createTlsFiles(binary, folder) : {}),
  };
  writeFileSync(path.join(folder, "agent.json"), JSON.stringify(config));
  const url = `http://127.0.0.1:${httpPort}`;
  const args = [
    ...["agent", "-dev", "-log-level=warn", "-bind=127.0.0.1", `-node=${options.nodeName ?? "node-1"}`],
    ...[`-data-dir=${path.join(folder, "data")}`, `-config-file=${path.join(folder, "agent.json")}`],
  ];
  let child: ChildProcess | undefined;
  let output = "";

  const start = async (): Promise<void> => {
    output = "";
    const started = spawn(binary, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, GOMAXPROCS: "2" },
    });
    child = started;
    const keep = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-8000));
    started.stdout.on("data", keep);
    started.stderr.on("data", keep);
    const deadline = Date.now() + startTimeoutMs;
    while (!(await isServing(url, hasAcls))) {
      if (started.exitCode !== null || Date.now() > deadline) {
        started.kill("SIGKILL");
        throw new Error(`consul did not start:\n${output}`);
      }
      await sleep(30);
    }
  };
  const halt = async (hard = false): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(hard ? "SIGKILL" : "SIGINT");
    const force = setTimeout(() => child?.kill("SIGKILL"), 5000);
    await exited;
    clearTimeout(force);
  };
  // A test file that dies must not leave an agent behind.
  const onExit = (): void => void child?.kill("SIGKILL");
  process.on("exit", onExit);
  const agent: ConsulAgent = {
    url,
    grpcPort,
    wanAddress: `127.0.0.1:${serfWan}`,
    https: hasTls
      ? { url: `https://127.0.0.1:${https}`, caFile: path.join(folder, "consul-agent-ca.pem") }
      : undefined,
    halt,
    start,
    restart: async () => {
      await halt();
      await start();
    },
    stop: async () => {
      // Nothing of it is kept: nobody has to hear that it leaves.
      await halt(true);
      process.off("exit", onExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await start();
  return agent;
}

/**
 * Elected, and the server itself is in the catalog: from here on reads and registrations work. With ACLs nothing of the
 * catalog can be seen yet.
 */
function isServing(url: string, hasAcls: boolean): Promise<boolean> {
  const path = hasAcls ? "/v1/status/leader" : "/v1/health/service/consul";
  const expected = hasAcls ? ":" : '"Service"';
  return new Promise((resolve) => {
    const request = http.get(`${url}${path}`, { agent: false, timeout: 1000 }, (response) => {
      let body = "";
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("end", () => resolve(response.statusCode === 200 && body.includes(expected)));
      response.on("error", () => resolve(false));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(false));
  });
}

/** The agent's settings for HTTPS, with files that Consul's own tool makes. */
function createTlsFiles(binary: string, folder: string): Readonly<Record<string, string>> {
  for (const args of [
    ["tls", "ca", "create"],
    ["tls", "cert", "create", "-server", "-additional-ipaddress=127.0.0.1"],
  ]) {
    const made = spawnSync(binary, args, { cwd: folder, encoding: "utf8" });
    if (made.status !== 0) throw new Error(`consul ${args.join(" ")}: ${made.stderr}`);
  }
  return {
    ca_file: path.join(folder, "consul-agent-ca.pem"),
    cert_file: path.join(folder, "dc1-server-consul-0.pem"),
    key_file: path.join(folder, "dc1-server-consul-0-key.pem"),
  };
}
