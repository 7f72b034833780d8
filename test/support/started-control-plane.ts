/** A control plane in this process, on free ports, with its admin API to ask and sidecars' ends to join with. */
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import type { Test } from "tap";
import {
  startControlPlane,
  type ControlPlane,
  type ControlPlaneSettings,
  type SidecarView,
} from "../../control-plane/index.js";
import { createAdsClient, type AdsState } from "../../src/discovery/ads-client.js";
import { openControlPlaneChannel } from "../../src/discovery/channel.js";
import { enroll } from "../../src/discovery/enroll.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { systemClock as clock } from "../../src/time/clock.js";
import { until } from "./until.js";

export interface AdminReply {
  readonly status: number;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

export async function startMeshHead(
  t: Test,
  dataDir: string,
  more: Partial<ControlPlaneSettings> = {},
): Promise<ControlPlane> {
  const ports = { listen: "127.0.0.1:0", admin: "127.0.0.1:0" };
  const started = await startControlPlane({ dataDir, ...ports, logLevel: "silent", ...more });
  t.teardown(() => started.close());
  return started;
}

/** A request that says exactly what it is told; by default with the admin token. */
export function askAdmin(
  mesh: ControlPlane,
  method: string,
  target: string,
  options: { body?: unknown; headers?: Record<string, string>; token?: string } = {},
): Promise<AdminReply> {
  const [host, port] = mesh.adminAddress.split(":");
  const token = options.token ?? readFileSync(mesh.adminTokenFile, "utf8").trim();
  const headers = { ...(token === "" ? {} : { authorization: `Bearer ${token}` }), ...options.headers };
  const body = typeof options.body === "object" ? JSON.stringify(options.body) : options.body;
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, method, path: target, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        const isJson = response.headers["content-type"] === "application/json";
        const json = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
        resolve({ status: response.statusCode ?? 0, text, json });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** A join token; it cannot be made is an error. */
export async function newToken(mesh: ControlPlane, service: string, uses = 1): Promise<string> {
  const { status, json } = await askAdmin(mesh, "POST", "/v1/tokens", { body: { service, uses } });
  if (status !== 201) throw new Error(`no token: ${status}`);
  return String(json["token"]);
}

export function joinWith(mesh: ControlPlane, service: string, token: string): Promise<Svid> {
  return enroll({ controlPlane: mesh.listenAddress, token, service, namespace: "default", clock });
}

export async function joinMesh(mesh: ControlPlane, service: string): Promise<Svid> {
  return joinWith(mesh, service, await newToken(mesh, service));
}

/** A sidecar's config stream, as far as the control plane can see it. */
export async function connectSidecar(
  t: Test,
  mesh: ControlPlane,
  sidecar: { readonly id: string; readonly service: string; readonly svid: Svid },
): Promise<{ readonly states: LatestValue<AdsState | undefined> }> {
  const certificates = new LatestValue<Svid | undefined>(sidecar.svid);
  const channel = openControlPlaneChannel({ controlPlane: mesh.listenAddress, certificates, clock });
  const states = new LatestValue<AdsState | undefined>(undefined);
  const { id, service } = sidecar;
  const client = createAdsClient({
    client: channel.client,
    clock,
    node: { id, service, namespace: "default", protocol: "http", upstreams: [], zone: "" },
    onSnapshot: () => undefined,
    onState: (state) => states.set(state),
  });
  t.teardown(() => {
    client.close();
    channel.close();
  });
  await until(`${id} is connected`, async () => (await sidecars(mesh)).some((one) => one.id === id));
  return { states };
}

export async function sidecars(mesh: ControlPlane): Promise<readonly SidecarView[]> {
  return (await askAdmin(mesh, "GET", "/v1/sidecars")).json["sidecars"] as readonly SidecarView[];
}
