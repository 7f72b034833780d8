import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { untilServing } from "../probe.js";
import { untilReady } from "../processes.js";
import { repository } from "../program-path.js";

const command = path.join(repository, "dist/bin/remora.js");
const controlPlaneTimeoutMs = 15_000;

const policyTimeoutMs = 10_000;
/** How the sidecar names the route that the policy makes. */
const routeName = "httproute/default/api/";

/** What a team would write: retries and a limit in time. Breaker, budget, balancer and metrics are on without being asked. */
const policy = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - backendRefs: [{name: api}]
    retry: {codes: [502, 503, 504], attempts: 3, backoff: 25ms}
    timeouts: {request: 10s}
`;

/** Remora as it is used: a control plane and two sidecars, started by the command line. */
export const remora: DataPlane = {
  name: "Remora",
  note: "control plane and two `remora sidecar`: retries, breaker, balancer, metrics on; access log off; HTTP/1.1 hop",
  async version(processes) {
    return (await processes.run(process.execPath, [command, "version"])).trim().split("\n")[0] ?? "";
  },
  async start({ dir, processes, appPort }) {
    const [listen = 0, adminApi = 0, outbound = 0, inbound = 0, admin = 0] = await freePorts(5);
    const dataDir = path.join(dir, "control-plane");
    const policies = path.join(dir, "policies");
    await mkdir(policies, { recursive: true });
    await writeFile(path.join(policies, "api.yaml"), policy);
    const launch = (name: string, args: readonly string[]): ReturnType<typeof processes.start> =>
      processes.start(`remora ${name}`, process.execPath, [command, ...args]);
    const controlPlane = launch("control-plane", [
      ...["control-plane", "--data-dir", dataDir, "--policies", policies],
      ...["--listen", `127.0.0.1:${listen}`, "--admin", `127.0.0.1:${adminApi}`],
    ]);
    await untilReady([controlPlane], controlPlaneTimeoutMs, async () => {
      const answer = await fetch(`http://127.0.0.1:${adminApi}/ready`);
      if (!answer.ok) throw new Error(`control plane: ${await answer.text()}`);
    });
    const sidecar = async (service: string, flags: readonly string[]): Promise<ReturnType<typeof launch>> => {
      const tokenFile = path.join(dir, `${service}.token`);
      await processes.run(process.execPath, [
        ...[command, "token", "create", "--service", service, "--out", tokenFile],
        ...["--admin-url", `http://127.0.0.1:${adminApi}`],
        ...["--admin-token-file", path.join(dataDir, "admin.token")],
      ]);
      return launch(`sidecar of ${service}`, [
        ...["sidecar", "--service", service, "--port", `${appPort}`, "--access-log", "off"],
        ...["--control-plane", `127.0.0.1:${listen}`, "--token-file", tokenFile],
        ...["--state-dir", path.join(dir, service), "--drain-delay", "0s", ...flags],
      ]);
    };
    const inboundProcess = await sidecar("api", ["--inbound", `${inbound}`]);
    const outboundProcess = await sidecar("web", ["--upstream", `api:${outbound}`, "--admin", `${admin}`]);
    const sides = [controlPlane, inboundProcess, outboundProcess];
    await untilServing(outbound, sides);
    // Requests also pass without the policy: the figures would be those of a Remora that retries nothing.
    await untilReady(sides, policyTimeoutMs, async () => {
      const answer = await fetch(`http://127.0.0.1:${admin}/config_dump`);
      if (!(await answer.text()).includes(routeName)) throw new Error(`${routeName} is not in force at web`);
    });
    return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
  },
};
