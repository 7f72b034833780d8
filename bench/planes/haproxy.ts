import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { requireProgram } from "../program-path.js";

export interface HaproxyOptions {
  readonly name: string;
  readonly note: string;
  readonly mode: "http" | "tcp";
  /** Also between load and outbound, and inbound and application. */
  readonly isHttp2EndToEnd?: boolean;
  /** Between the two sides. */
  readonly isHttp2Hop?: boolean;
}

/** HAProxy with one thread; every request may use any pooled connection. */
function haproxyPlane({ name, note, mode, isHttp2EndToEnd, isHttp2Hop }: HaproxyOptions): DataPlane {
  return {
    name,
    note,
    async version(processes) {
      const text = await processes.run(requireProgram("haproxy"), ["-v"]);
      return /version (\S+)/.exec(text)?.[1] ?? text.trim();
    },
    async start({ dir, processes, appPort, identities, untilServing }) {
      const program = requireProgram("haproxy");
      const [outbound = 0, inbound = 0] = await freePorts(2);
      const { ca, web, api } = identities;
      const tls = (both: string): string =>
        `ssl crt ${both} ca-file ${ca} verify required ssl-min-ver TLSv1.3${isHttp2Hop ? " alpn h2" : ""}`;
      const plain = isHttp2EndToEnd ? " proto h2" : "";
      const launch = async (side: string, listen: string): Promise<ReturnType<typeof processes.start>> => {
        const file = path.join(dir, `${side}.cfg`);
        await writeFile(file, configuration(mode, listen));
        return processes.start(`haproxy ${side}`, program, ["-f", file]);
      };
      const inboundProcess = await launch(
        "inbound",
        `bind 127.0.0.1:${inbound} ${tls(api.both)}\n  server app 127.0.0.1:${appPort}${plain}`,
      );
      const outboundProcess = await launch(
        "outbound",
        `bind 127.0.0.1:${outbound}${plain}\n  server mesh 127.0.0.1:${inbound} ${tls(web.both)}`,
      );
      await untilServing(outbound, [inboundProcess, outboundProcess]);
      return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
    },
  };
}

function configuration(mode: "http" | "tcp", listen: string): string {
  return `global
  nbthread 1
  maxconn 4096
defaults
  mode ${mode}
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  ${mode === "http" ? "http-reuse always" : "option clitcpka"}
listen side
  ${listen}
`;
}

export const haproxy = haproxyPlane({
  name: "HAProxy",
  note: "1 thread, http-reuse always, HTTP/1.1 hop",
  mode: "http",
});

export const haproxyHttp2Hop = haproxyPlane({
  name: "HAProxy (HTTP/2 hop)",
  note: "1 thread, http-reuse always, HTTP/2 (ALPN h2) between the sides",
  mode: "http",
  isHttp2Hop: true,
});

export const haproxyHttp2 = haproxyPlane({
  name: "HAProxy",
  note: "1 thread, HTTP/2 on both sides and between them",
  mode: "http",
  isHttp2Hop: true,
  isHttp2EndToEnd: true,
});

export const haproxyTcp = haproxyPlane({
  name: "HAProxy",
  note: "1 thread, mode tcp, one TLS connection per client connection",
  mode: "tcp",
});
