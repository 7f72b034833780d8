import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { untilServing } from "../probe.js";
import { untilReady } from "../processes.js";
import { requireProgram } from "../program-path.js";

const agentTimeoutMs = 20_000;

/** `consul connect proxy`, Consul's built-in data plane: layer 4, certificates from Consul's own CA. */
export const consulProxy: DataPlane = {
  name: "consul connect proxy",
  note: "layer 4 only: no HTTP, no retries; GOMAXPROCS=1; certificates of Consul's CA",
  async version(processes) {
    const text = await processes.run(requireProgram("consul"), ["version"]);
    return /v(\S+)/.exec(text)?.[1] ?? text.trim();
  },
  async start({ dir, processes, appPort }) {
    const program = requireProgram("consul");
    const [http = 0, server = 0, serfLan = 0, serfWan = 0, grpc = 0, outbound = 0, inbound = 0, unused = 0] =
      await freePorts(8);
    const file = path.join(dir, "agent.json");
    const ports = { http, server, serf_lan: serfLan, serf_wan: serfWan, grpc, https: -1, dns: -1 };
    const upstreams = [{ destination_name: "api", local_bind_port: outbound }];
    const services = [
      { name: "api", port: appPort, connect: { sidecar_service: { port: inbound } } },
      // Nothing calls web, but a sidecar without a port would take one from a fixed range.
      { name: "web", port: appPort, connect: { sidecar_service: { port: unused, proxy: { upstreams } } } },
    ];
    await writeFile(file, JSON.stringify({ ports, services, connect: { enabled: true } }));
    const agent = processes.start("consul agent", program, [
      ...["agent", "-dev", "-bind=127.0.0.1", "-log-level=warn", `-data-dir=${path.join(dir, "data")}`],
      `-config-file=${file}`,
    ]);
    const url = `http://127.0.0.1:${http}`;
    await untilReady([agent], agentTimeoutMs, async () => {
      const answer = await fetch(`${url}/v1/agent/connect/ca/leaf/web`, {
        signal: AbortSignal.timeout(5000),
      });
      if (!answer.ok) throw new Error(`consul has no certificate for web yet: ${await answer.text()}`);
      await answer.text();
    });
    const launch = (service: string): ReturnType<typeof processes.start> =>
      processes.start(
        `consul proxy of ${service}`,
        program,
        ["connect", "proxy", `-http-addr=${url}`, `-sidecar-for=${service}`, "-log-level=warn"],
        { GOMAXPROCS: "1" },
      );
    const inboundProcess = launch("api");
    const outboundProcess = launch("web");
    await untilServing(outbound, [agent, inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};
