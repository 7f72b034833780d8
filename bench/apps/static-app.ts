import { writeFile } from "node:fs/promises";
import path from "node:path";
import { nginxConfig } from "../planes/nginx-config.js";
import { freePorts } from "../free-ports.js";
import { findProgram, requireProgram } from "../program-path.js";
import { replyBytes, untilServing } from "../probe.js";
import type { Processes, Started } from "../processes.js";

/** The application behind every data plane. */
export interface App {
  readonly port: number;
  /** What answers, for the report. */
  readonly name: string;
}

/** A static reply of 1 KiB: from nginx where it is there, else from a Node process, which is slower but the same for all. */
export async function startApp(dir: string, processes: Processes): Promise<App> {
  const [port = 0] = await freePorts(1);
  const nginx = findProgram("nginx");
  const started =
    nginx === undefined ? startNode(port, processes) : await startNginx(nginx, dir, port, processes);
  await untilServing(port, [started]);
  return { port, name: started.name };
}

/** The same with a file at `/big`. Needs nginx. */
export async function startAppWithFile(dir: string, processes: Processes, file: string): Promise<App> {
  const [port = 0] = await freePorts(1);
  const locations = `location = /big { alias ${file}; sendfile on; }`;
  const started = await startNginx(requireProgram("nginx"), dir, port, processes, locations);
  await untilServing(port, [started]);
  return { port, name: started.name };
}

async function startNginx(
  nginx: string,
  dir: string,
  port: number,
  processes: Processes,
  locations = "",
): Promise<Started> {
  const file = path.join(dir, "app.nginx.conf");
  // Kept open for longer than a round takes, so that no data plane meets a connection that is being closed.
  const server = `keepalive_timeout 600s;
  server {
    listen 127.0.0.1:${port};
    ${locations}
    location / { return 200 "${"x".repeat(replyBytes)}"; }
  }`;
  await writeFile(file, nginxConfig(dir, "app", server));
  return processes.start("nginx", nginx, ["-c", file, "-e", "stderr"]);
}

function startNode(port: number, processes: Processes): Started {
  const script = path.join(import.meta.dirname, "node-http.js");
  return processes.start("node:http", process.execPath, [script, String(port), String(replyBytes)]);
}
