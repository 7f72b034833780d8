import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import type { SideSettings } from "./http-proxy-side.js";

const side = path.join(import.meta.dirname, "node-http2-side.js");

/** The straightforward way to relay HTTP/2 in Node: streams piped into streams. */
export const nodeHttp2: DataPlane = {
  name: "node:http2",
  note: "node:http2 server and client, streams piped, one HTTP/2 connection between the sides",
  version: () => Promise.resolve(process.version),
  async start({ processes, appPort, identities, untilServing }) {
    const [outbound = 0, inbound = 0] = await freePorts(2);
    const { ca, web, api } = identities;
    const launch = (settings: SideSettings): ReturnType<typeof processes.start> =>
      processes.start(`node:http2 ${settings.role}`, process.execPath, [side, JSON.stringify(settings)]);
    const inboundProcess = launch({ role: "inbound", port: inbound, target: appPort, ca, ...api });
    const outboundProcess = launch({ role: "outbound", port: outbound, target: inbound, ca, ...web });
    await untilServing(outbound, [inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};
