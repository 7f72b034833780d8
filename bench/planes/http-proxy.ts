import { readFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { repository } from "../program-path.js";
import type { SideSettings } from "./http-proxy-side.js";

const side = path.join(import.meta.dirname, "http-proxy-side.js");

/** The usual way to write a proxy in Node: `http-proxy` on node:http and node:https with keep-alive agents. */
export const httpProxy: DataPlane = {
  name: "http-proxy",
  note: "node:http and node:https, keep-alive agents, HTTP/1.1 hop",
  async version() {
    const manifest = path.join(repository, "node_modules/http-proxy/package.json");
    const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
    return `${version} on Node ${process.version}`;
  },
  async start({ processes, appPort, identities, untilServing }) {
    const [outbound = 0, inbound = 0] = await freePorts(2);
    const { ca, web, api } = identities;
    const launch = (settings: SideSettings): ReturnType<typeof processes.start> =>
      processes.start(`http-proxy ${settings.role}`, process.execPath, [side, JSON.stringify(settings)]);
    const inboundProcess = launch({ role: "inbound", port: inbound, target: appPort, ca, ...api });
    const outboundProcess = launch({ role: "outbound", port: outbound, target: inbound, ca, ...web });
    await untilServing(outbound, [inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};
