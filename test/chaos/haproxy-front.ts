import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { call } from "../support/http-load.js";
import type { MeshOwner } from "../support/cli-mesh.js";
import { until } from "../support/until.js";
import type { ChaosMesh } from "./chaos-mesh.js";

/** HAProxy in front of catalog's applications, set up to do what it can of the same; its port. */
export async function startHaproxy(
  owner: MeshOwner,
  { mesh, catalog }: ChaosMesh,
  program: string,
): Promise<number> {
  const port = await mesh.freePort();
  const file = path.join(mesh.dir, "haproxy.cfg");
  const servers = catalog.map(
    ({ name, app }) =>
      `  server ${name} 127.0.0.1:${app} check inter 1s rise 1 fall 2 observe layer7 error-limit 7 on-error mark-down`,
  );
  writeFileSync(
    file,
    `defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 500ms
  timeout queue 1s
  retries 2
  option redispatch 1
  retry-on all-retryable-errors
  http-reuse safe
listen catalog
  bind 127.0.0.1:${port}
  balance leastconn
  option httpchk GET /health
${servers.join("\n")}
`,
  );
  const haproxy = spawn(program, ["-db", "-q", "-f", file], { stdio: "ignore" });
  owner.teardown(() => haproxy.kill("SIGKILL"));
  await once(haproxy, "spawn");
  await until("HAProxy", async () => (await call({ port, path: "/" })).status === 200);
  return port;
}
