/** Two services with a sidecar each, that call each other: `api` speaks HTTP/1.1 and WebSockets, `web` HTTP/2 and gRPC. */
import type { CliProcess } from "./cli-process.js";
import { startMesh, type CliMesh, type MeshOwner, type Place } from "./cli-mesh.js";
import { startHttp1App, startHttp2App, type MixedApp } from "./mixed-apps.js";
import type { MixedTarget, SentRequest } from "./mixed-traffic.js";
import { until } from "./until.js";
import { call } from "./http-load.js";

export interface MixedMesh {
  readonly mesh: CliMesh;
  readonly web: Place;
  readonly api: Place;
  /** By index of their target. */
  readonly apps: readonly [MixedApp, MixedApp];
  readonly targets: readonly [MixedTarget, MixedTarget];
  /** A place for another instance of api, with the same application; not started. */
  secondApi(): Promise<Place & { process?: CliProcess }>;
  /** By name. */
  readonly pids: ReadonlyMap<string, number>;
}

export async function startMixedMesh(
  owner: MeshOwner,
  controlPlane: readonly string[] = [],
): Promise<MixedMesh> {
  const mesh = await startMesh(owner, { controlPlane });
  const web = await mesh.place({
    ...{ name: "web", service: "web", upstreams: ["api"], command: [], flags: ["--protocol", "http2"] },
  });
  const api = await mesh.place({ name: "api", service: "api", upstreams: ["web"], command: [] });
  const apps = [await startHttp1App(api.app), await startHttp2App(web.app)] as const;
  owner.teardown(() => {
    for (const app of apps) app.close();
  });
  const processes = [web, api].map((place) => mesh.run(place));
  for (const { name, admin } of [web, api])
    await until(`${name} is ready`, async () => (await call({ port: admin, path: "/ready" })).status === 200);
  await mesh.untilKnown(web, "api", [api]);
  await mesh.untilKnown(api, "web", [web]);
  return {
    ...{ mesh, web, api, apps },
    secondApi: async () => {
      const place = await mesh.place({ name: "api-2", service: "api", command: [] });
      await apps[0].listen(place.app);
      return { ...place };
    },
    targets: [
      { port: web.upstreams.get("api") ?? 0, speaks: "webSocket" },
      { port: api.upstreams.get("web") ?? 0, speaks: "grpc" },
    ],
    pids: new Map([
      ["web", processes[0]?.pid ?? 0],
      ["api", processes[1]?.pid ?? 0],
      ["control-plane", mesh.controlPlaneProcess?.pid ?? 0],
    ]),
  };
}

/** How often each request was executed, where it must be exactly once, or at most once. One line for each that was not. */
export function miscounted(sent: readonly SentRequest[], apps: readonly MixedApp[]): string[] {
  return sent.flatMap(({ nonce, kind, target, method }) => {
    const times = apps[target]?.executed.get(nonce) ?? 0;
    const elsewhere = apps.some((app, index) => index !== target && app.executed.has(nonce));
    // An early answer is none of its execution; what was given up or cut off may not have come through.
    const least = kind === "cancel" || kind === "fault" || kind === "early" ? 0 : 1;
    const isRight = times >= least && (times <= 1 || method === "GET" || method === "HEAD") && !elsewhere;
    return isRight
      ? []
      : [`${nonce} ${method}: executed ${times} times${elsewhere ? ", and elsewhere" : ""}`];
  });
}
