import { readFile } from "node:fs/promises";
import { readAdmin, startMesh, type MeshOwner, type Place } from "../support/cli-mesh.js";
import { call, startLoad } from "../support/http-load.js";
import { until } from "../support/until.js";

export interface FlipOptions {
  readonly flips: number;
  readonly ratePerSecond: number;
}

/** What clients saw while a route changed, and what came of the changes. */
export interface FlipsSeen {
  readonly flips: number;
  readonly sent: number;
  /** One line for each request that was not answered with 200. */
  readonly failures: readonly string[];
  /** Requests that each of the two services executed. */
  readonly served: readonly number[];
  /** Ids of the POSTs that were executed, as often as they were. */
  readonly posted: readonly string[];
  /** How often each sidecar put another configuration in force. */
  readonly applied: readonly number[];
}

/**
 * Two forms of one route. Nobody but the service of its backend is at work in each: with every change a cluster comes and
 * another one goes. The service `shop` itself has no instance: a request that finds no route finds nobody.
 */
const forms: readonly string[] = [
  `
  - backendRefs: [{name: blue}]`,
  `
  - matches: [{path: {type: PathPrefix, value: /slow}}]
    timeouts: {request: 20s}
    backendRefs: [{name: green}]
  - backendRefs: [{name: green}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-form, value: green}]}}]`,
].map(
  (rules) => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop}]
  rules:${rules}
`,
);

/** Every so many changes one is followed by the next at once, whether the sidecars have it or not. */
const hastyEvery = 10;

export async function runRouteFlips(
  owner: MeshOwner,
  { flips, ratePerSecond }: FlipOptions,
): Promise<FlipsSeen> {
  const mesh = await startMesh(owner);
  const backends = await Promise.all(
    ["blue", "green"].map((service) => mesh.join({ name: service, service })),
  );
  const caller = { service: "web", upstreams: ["shop"] };
  const webs = await Promise.all([
    mesh.join({ name: "web", ...caller }),
    mesh.join({ name: "web-of-workers", ...caller, flags: ["--workers", "2"] }),
  ]);
  const ports = webs.map(({ upstreams }) => upstreams.get("shop") ?? 0);
  /** Of the configuration with each form. */
  const versions: string[] = [];
  for (const [n, form] of forms.entries()) {
    await mesh.apply(form);
    const name = n === 0 ? "blue" : "green";
    await Promise.all(
      webs.map((web, at) =>
        until(`${web.name} sends to ${name}`, async () => {
          const { status, body } = await call({ port: ports[at] ?? 0 });
          return status === 200 && body.includes(`"instance":"${name}"`);
        }),
      ),
    );
    versions.push(await versionOf(webs[0]));
  }
  const [servedBefore, appliedBefore] = [await servedBy(backends), webs.map(appliedBy)];

  // Many are under way at every moment: their cluster goes while its answer is awaited.
  const load = startLoad(owner, ratePerSecond, (n) => {
    const path = `${n % 5 === 0 ? "/slow" : "/"}?ms=${n % 40}`;
    const port = ports[n % ports.length] ?? 0;
    return n % 4 < 2 ? { port, path } : { port, path, method: "POST", body: `post-${n}` };
  });
  for (let flip = 0; flip < flips; flip++) {
    const form = flip % forms.length;
    await mesh.apply(forms[form] ?? "");
    if (flip % hastyEvery === 0) continue;
    await Promise.all(
      webs.map((web) =>
        until(`change ${flip} at ${web.name}`, async () => (await versionOf(web)) === versions[form]),
      ),
    );
  }
  const { sent, failures } = await load.stop();
  const ledger = await readFile(mesh.ledger, "utf8");
  return {
    ...{ flips, sent, failures },
    served: minus(await servedBy(backends), servedBefore),
    posted: ledger.split("\n").filter((line) => line !== ""),
    applied: minus(webs.map(appliedBy), appliedBefore),
  };
}

async function versionOf({ admin }: Place): Promise<string> {
  const { config } = (await readAdmin(admin, "/server_info")) as {
    readonly config: { readonly version: string };
  };
  return config.version;
}

function servedBy(places: readonly Place[]): Promise<readonly number[]> {
  return Promise.all(
    places.map(async ({ app }) => {
      const { body } = await call({ port: app, path: "/count" });
      return (JSON.parse(body) as { readonly served: number }).served;
    }),
  );
}

function appliedBy({ process }: { readonly process: { readonly log: string } }): number {
  return process.log.split("configuration applied").length - 1;
}

function minus(a: readonly number[], b: readonly number[]): readonly number[] {
  return a.map((value, at) => value - (b[at] ?? 0));
}

/** One line for each promise that was broken, also those without which the run proves nothing. */
export function brokenInFlips({
  flips,
  sent,
  failures,
  served,
  posted,
  applied,
}: FlipsSeen): readonly string[] {
  const fewest = { served: sent / 10, applied: flips / 2 };
  return [
    ...(failures.length === 0
      ? []
      : [`${failures.length} of ${sent} failed: ${failures.slice(0, 5).join("; ")}`]),
    ...(served.reduce((sum, count) => sum + count, 0) >= sent
      ? []
      : [`${sent} requests, of which the two services executed ${served.join(" and ")}`]),
    ...(new Set(posted).size === posted.length ? [] : ["a POST was executed twice"]),
    ...(Math.min(...served) >= fewest.served ? [] : [`the two services executed ${served.join(" and ")}`]),
    ...(Math.min(...applied) >= fewest.applied
      ? []
      : [`${flips} changes, of which the sidecars put ${applied.join(" and ")} in force`]),
  ];
}
