import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { requireProgram } from "../program-path.js";
import { consulVersion, startConsul } from "./consul-agent.js";

/** `consul connect proxy`, Consul's built-in data plane: layer 4, certificates from Consul's own CA. */
export const consulProxy: DataPlane = {
  name: "consul connect proxy",
  note: "layer 4 only: no HTTP, no retries; GOMAXPROCS=1; certificates of Consul's CA",
  version: consulVersion,
  async start({ dir, processes, appPort, untilServing }) {
    const [outbound = 0, inbound = 0, unused = 0] = await freePorts(3);
    const upstreams = [{ destination_name: "api", local_bind_port: outbound }];
    const { started, url } = await startConsul(dir, processes, [
      { name: "api", port: appPort, connect: { sidecar_service: { port: inbound } } },
      // Nothing calls web, but a sidecar without a port would take one from a fixed range.
      { name: "web", port: appPort, connect: { sidecar_service: { port: unused, proxy: { upstreams } } } },
    ]);
    const launch = (service: string): ReturnType<typeof processes.start> =>
      processes.start(
        `consul proxy of ${service}`,
        requireProgram("consul"),
        ["connect", "proxy", `-http-addr=${url}`, `-sidecar-for=${service}`, "-log-level=warn"],
        { GOMAXPROCS: "1" },
      );
    const inboundProcess = launch("api");
    const outboundProcess = launch("web");
    await untilServing(outbound, [started, inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};
