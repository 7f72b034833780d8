import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { untilServing } from "../probe.js";
import { requireProgram } from "../program-path.js";

/** HAProxy with one thread; every request may use any pooled connection. */
export const haproxy: DataPlane = {
  name: "HAProxy",
  note: "1 thread, http-reuse always, HTTP/1.1 hop",
  async version(processes) {
    const text = await processes.run(requireProgram("haproxy"), ["-v"]);
    return /version (\S+)/.exec(text)?.[1] ?? text.trim();
  },
  async start({ dir, processes, appPort, identities }) {
    const program = requireProgram("haproxy");
    const [outbound = 0, inbound = 0] = await freePorts(2);
    const { ca, web, api } = identities;
    const tls = (both: string): string => `ssl crt ${both} ca-file ${ca} verify required ssl-min-ver TLSv1.3`;
    const launch = async (name: string, listen: string): Promise<ReturnType<typeof processes.start>> => {
      const file = path.join(dir, `${name}.cfg`);
      await writeFile(file, configuration(listen));
      return processes.start(`haproxy ${name}`, program, ["-f", file]);
    };
    const inboundProcess = await launch(
      "inbound",
      `bind 127.0.0.1:${inbound} ${tls(api.both)}\n  server app 127.0.0.1:${appPort}`,
    );
    const outboundProcess = await launch(
      "outbound",
      `bind 127.0.0.1:${outbound}\n  server mesh 127.0.0.1:${inbound} ${tls(web.both)}`,
    );
    await untilServing(outbound, [inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};

function configuration(listen: string): string {
  return `global
  nbthread 1
  maxconn 2048
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  http-reuse always
listen side
  ${listen}
`;
}
