/** A real Consul server for an example, on loopback. */
import type { ChildProcess } from "node:child_process";
import { freePorts } from "./demo/free-ports.js";
import { startProgram, until } from "./demo/processes.js";
import { call } from "./demo/traffic.js";
import { programOnPath } from "./program-on-path.js";

export interface ConsulServerOptions {
  /** Of its HTTP API. */
  readonly port: number;
  /** dc1 */
  readonly datacenter?: string;
  /** A server of another datacenter. */
  readonly joinWan?: ConsulServer;
}

export interface ConsulServer {
  readonly process: ChildProcess;
  /** host:port that servers of other datacenters join. */
  readonly wan: string;
}

/** Resolves when it takes registrations. */
export async function startConsul(dir: string, options: ConsulServerOptions): Promise<ConsulServer> {
  const { port, datacenter = "dc1", joinWan } = options;
  const name = `consul-${datacenter}`;
  const [rpc = 0, serfLan = 0, serfWan = 0] = await freePorts(3);
  const process = startProgram(dir, name, [
    ...[programOnPath("consul", "consul"), "agent", "-dev", "-bind=127.0.0.1", "-log-level=warn"],
    ...[`-node=${name}`, `-datacenter=${datacenter}`, "-dns-port=-1", "-grpc-port=-1"],
    ...[`-http-port=${port}`, `-server-port=${rpc}`],
    ...[`-serf-lan-port=${serfLan}`, `-serf-wan-port=${serfWan}`],
    ...(joinWan === undefined ? [] : [`-retry-join-wan=${joinWan.wan}`, "-retry-interval-wan=1s"]),
  ]);
  await until(name, 30_000, async () =>
    (await call(port, "/v1/health/service/consul")).body.includes("Service") ? true : undefined,
  );
  return { process, wan: `127.0.0.1:${serfWan}` };
}
