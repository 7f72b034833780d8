import { writeFile } from "node:fs/promises";
import path from "node:path";
import { freePorts } from "../free-ports.js";
import { untilReady, type Processes, type Started } from "../processes.js";
import { requireProgram } from "../program-path.js";

const readyTimeoutMs = 60_000;

/** A Consul server for one run. */
export interface ConsulAgent {
  readonly started: Started;
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
}

/** @param services in the form of the agent's configuration files. Throws when there is no Consul. */
export async function startConsul(
  dir: string,
  processes: Processes,
  services: readonly unknown[],
): Promise<ConsulAgent> {
  const program = requireProgram("consul");
  const [http = 0, server = 0, serfLan = 0, serfWan = 0, grpc = 0] = await freePorts(5);
  const file = path.join(dir, "agent.json");
  const ports = { http, server, serf_lan: serfLan, serf_wan: serfWan, grpc, https: -1, dns: -1 };
  await writeFile(file, JSON.stringify({ ports, services, connect: { enabled: true } }));
  const started = processes.start("consul agent", program, [
    ...["agent", "-dev", "-bind=127.0.0.1", "-log-level=warn", `-data-dir=${path.join(dir, "data")}`],
    `-config-file=${file}`,
  ]);
  const url = `http://127.0.0.1:${http}`;
  await untilReady([started], readyTimeoutMs, async () => {
    const answer = await fetch(`${url}/v1/agent/connect/ca/leaf/web`, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`consul has no certificate for web yet: ${await answer.text()}`);
    await answer.text();
  });
  return { started, url };
}

/** What `consul version` says. */
export async function consulVersion(processes: Processes): Promise<string> {
  const text = await processes.run(requireProgram("consul"), ["version"]);
  return /v(\S+)/.exec(text)?.[1] ?? text.trim();
}
