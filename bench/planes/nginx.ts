import { writeFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane, Surroundings } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { requireProgram } from "../program-path.js";
import { nginxConfig } from "./nginx-config.js";

/** nginx with one worker and keep-alive to its upstream; usage counts master and worker. */
export const nginx: DataPlane = {
  name: "nginx",
  note: "1 worker, upstream keepalive, HTTP/1.1 hop",
  async version(processes) {
    const text = await processes.run("/bin/sh", ["-c", '"$0" -v 2>&1', requireProgram("nginx")]);
    return /nginx\/(\S+)/.exec(text)?.[1] ?? text.trim();
  },
  async start({ dir, processes, appPort, identities, untilServing }) {
    const program = requireProgram("nginx");
    const [outbound = 0, inbound = 0] = await freePorts(2);
    const { ca, web, api } = identities;
    const launch = async (name: string, http: string): ReturnType<typeof startOne> =>
      startOne({ dir, processes }, program, name, http);
    const inboundProcess = await launch(
      "inbound",
      `upstream app { server 127.0.0.1:${appPort}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${inbound} ssl;
    ssl_certificate ${api.cert};
    ssl_certificate_key ${api.key};
    ssl_client_certificate ${ca};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    location / { proxy_pass http://app; ${keepAlive} }
  }`,
    );
    const outboundProcess = await launch(
      "outbound",
      // The SVIDs have no DNS name, so that OpenSSL compares proxy_ssl_name with the common name, the service.
      `upstream mesh { server 127.0.0.1:${inbound}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${outbound};
    location / {
      proxy_pass https://mesh;
      ${keepAlive}
      proxy_ssl_certificate ${web.cert};
      proxy_ssl_certificate_key ${web.key};
      proxy_ssl_trusted_certificate ${ca};
      proxy_ssl_verify on;
      proxy_ssl_name api;
      proxy_ssl_protocols TLSv1.3;
    }
  }`,
    );
    await untilServing(outbound, [inboundProcess, outboundProcess]);
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};

/** Without these nginx speaks HTTP/1.0 to its upstream and closes each connection. */
const keepAlive = 'proxy_http_version 1.1; proxy_set_header Connection "";';

async function startOne(
  { dir, processes }: Pick<Surroundings, "dir" | "processes">,
  program: string,
  name: string,
  http: string,
): Promise<ReturnType<typeof processes.start>> {
  const file = path.join(dir, `${name}.conf`);
  await writeFile(file, nginxConfig(dir, name, http));
  return processes.start(`nginx ${name}`, program, ["-c", file, "-e", "stderr"]);
}
