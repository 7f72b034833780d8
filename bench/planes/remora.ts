import type { DataPlane } from "../data-plane.js";
import { freePorts } from "../free-ports.js";
import { untilReady } from "../processes.js";
import { RemoraMesh, remoraVersion } from "./remora-mesh.js";

const policyTimeoutMs = 60_000;

export interface RemoraOptions {
  /** Default Remora. */
  readonly name?: string;
  /** What the application speaks; default http. */
  readonly protocol?: "http" | "grpc" | "tcp";
  /** Processes of each sidecar; default 1. */
  readonly workers?: number;
  /** Flags of node for both sidecars. */
  readonly nodeFlags?: readonly string[];
}

/** What a team would write: retries and a limit in time. Breaker, budget, balancer and metrics are on without being asked. */
const documents = {
  http: `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - backendRefs: [{name: api}]
    retry: {codes: [502, 503, 504], attempts: 3, backoff: 25ms}
    timeouts: {request: 10s}
`,
  grpc: `apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - backendRefs: [{name: api}]
`,
} as const;

/** How the sidecar names the route that the policy makes. */
const routeNames = { http: "httproute/default/api/", grpc: "grpcroute/default/api/" } as const;

const notes = {
  http: "retries, breaker, balancer, metrics on; access log off",
  grpc: "--protocol grpc: retries, breaker, balancer, metrics on; access log off",
  tcp: "--protocol tcp: breaker, balancer, metrics on; access log off",
} as const;

/** Remora as it is used: a control plane and two sidecars, started by the command line. */
export function remoraPlane(options: RemoraOptions = {}): DataPlane {
  const { name = "Remora", protocol = "http", workers = 1, nodeFlags = [] } = options;
  return {
    name,
    note: `control plane and two \`remora sidecar\`${workers === 1 ? "" : ` --workers ${workers}`}: ${notes[protocol]}`,
    version: remoraVersion,
    async start({ dir, processes, appPort, untilServing }) {
      const policies = protocol === "tcp" ? {} : { "api.yaml": documents[protocol] };
      const mesh = await RemoraMesh.start({ dir, processes, policies });
      const [outbound = 0, inbound = 0, admin = 0] = await freePorts(3);
      const common = workers === 1 ? [] : ["--workers", `${workers}`];
      const inboundProcess = await mesh.sidecar("api", {
        appPort,
        nodeFlags,
        flags: ["--inbound", `${inbound}`, "--protocol", protocol, ...common],
      });
      const outboundProcess = await mesh.sidecar("web", {
        appPort,
        nodeFlags,
        flags: ["--upstream", `api:${outbound}`, "--admin", `${admin}`, ...common],
      });
      const sides = [mesh.controlPlane, inboundProcess, outboundProcess];
      await untilServing(outbound, sides);
      // Requests also pass without the policy: the figures would be those of a Remora that retries nothing.
      if (protocol !== "tcp")
        await untilReady(sides, policyTimeoutMs, async () => {
          const answer = await fetch(`http://127.0.0.1:${admin}/config_dump`);
          if (!(await answer.text()).includes(routeNames[protocol]))
            throw new Error(`${routeNames[protocol]} is not in force at web`);
        });
      return { port: outbound, outboundPid: outboundProcess.pid, inboundPid: inboundProcess.pid };
    },
  };
}
