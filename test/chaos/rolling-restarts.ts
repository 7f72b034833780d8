import { readFile } from "node:fs/promises";
import { startMesh, type CliMesh, type MeshOwner, type Running } from "../support/cli-mesh.js";
import { startLoad } from "../support/http-load.js";

export interface RestartOptions {
  readonly restarts: number;
  readonly ratePerSecond: number;
}

/** What clients saw while the instances of a service were replaced one by one. */
export interface RestartsSeen {
  readonly sent: number;
  /** One line for each request that was not answered with 200. */
  readonly failures: readonly string[];
  /** Ids of the POSTs that were executed, as often as they were. */
  readonly posted: readonly string[];
}

const instanceCount = 3;

export async function runRollingRestarts(
  owner: MeshOwner,
  { restarts, ratePerSecond }: RestartOptions,
): Promise<RestartsSeen> {
  const mesh = await startMesh(owner);
  const names = Array.from({ length: instanceCount }, (_, n) => `api-${n + 1}`);
  const apis = await Promise.all(names.map((name) => mesh.join({ name, service: "api" })));
  const web = await mesh.join({ name: "web", service: "web", upstreams: ["api"], command: [] });
  await mesh.untilKnown(web, "api", apis);
  const port = web.upstreams.get("api") ?? 0;
  // POSTs are not sent again: what hides behind a retry would show.
  const load = startLoad(owner, ratePerSecond, (n) => {
    const path = `/?ms=${n % 30}`;
    return n % 2 === 0 ? { port, path } : { port, path, method: "POST", body: `post-${n}` };
  });
  for (let n = 0; n < restarts; n++) await restart(mesh, web, apis, apis[n % apis.length] as Running);
  const { sent, failures } = await load.stop();
  const ledger = await readFile(mesh.ledger, "utf8");
  return { sent, failures, posted: ledger.split("\n").filter((line) => line !== "") };
}

/** As a service manager does it; its successor is at work before the next one goes. */
async function restart(
  mesh: CliMesh,
  web: Running,
  apis: readonly Running[],
  instance: Running,
): Promise<void> {
  const { code } = await instance.process.stop();
  if (code !== 0) throw new Error(`${instance.name}: exit ${code}`);
  const others = apis.filter((other) => other !== instance);
  await mesh.untilKnown(web, "api", others);
  instance.process = mesh.run(instance);
  await mesh.untilKnown(web, "api", apis);
}

/** One line for each promise that was broken. */
export function brokenInRestarts({ sent, failures, posted }: RestartsSeen): readonly string[] {
  return [
    ...(failures.length === 0
      ? []
      : [`${failures.length} of ${sent} failed: ${failures.slice(0, 5).join("; ")}`]),
    ...(new Set(posted).size === posted.length ? [] : ["a POST was executed twice"]),
    ...(posted.length === Math.floor(sent / 2)
      ? []
      : [`${posted.length} POSTs executed of ${sent} requests`]),
  ];
}
