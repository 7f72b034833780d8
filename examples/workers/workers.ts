/**
 * `make example NAME=workers`: a sidecar that carries its traffic with two processes. One of them is killed under load: another takes
 * its place, and with a retry of what was under way no caller notices.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { freePorts } from "../demo/free-ports.js";
import { until } from "../demo/processes.js";
import { call, metric } from "../demo/traffic.js";
import { show, type Instance } from "../small-mesh.js";

const service = () => [process.execPath, path.resolve(import.meta.dirname, "../plain-service.js")];
const policy = path.resolve(import.meta.dirname, "../../../examples/workers/workers.yaml");

interface Worker {
  readonly pid: number;
  readonly state: string;
  readonly connections: Readonly<Record<string, number>>;
}

async function workersOf({ admin }: Instance): Promise<readonly Worker[]> {
  const { body } = await call(admin, "/server_info");
  return (JSON.parse(body) as { readonly workers: readonly Worker[] }).workers;
}

await show(async (mesh) => {
  const [local = 0] = await freePorts(1);
  const flags = ["--workers", "2"];
  const api = await mesh.serve({ name: "api-1", service: "api", command: service, flags });
  const web = await mesh.serve({
    name: "web-1",
    service: "web",
    command: service,
    flags: [...flags, "--upstream", `api:${local}`],
  });
  await mesh.untilKnown(web, "api", 1);
  console.log(await mesh.apply(await readFile(policy, "utf8")));

  const statuses = new Map<number, number>();
  let isOver = false;
  const client = async (): Promise<void> => {
    while (!isOver) {
      const { status } = await call(local, "/").catch(() => ({ status: 0 }));
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  const answered = (): number => statuses.get(200) ?? 0;
  const until200 = (count: number): Promise<true> =>
    until(`${count} answers`, 30_000, () => Promise.resolve(answered() >= count ? true : undefined));
  await until200(200);
  const before = await workersOf(web);
  const spread = before.map(({ connections }) => connections[`127.0.0.1:${local}`] ?? 0);
  console.log("connections of web's clients:", spread);

  const victim = (await workersOf(api))[0]?.pid ?? 0;
  process.kill(victim, "SIGKILL");
  await until("another worker", 30_000, async () => {
    const [first] = await workersOf(api);
    return first?.state === "ready" && first.pid !== victim ? true : undefined;
  });
  await until200(answered() + 200);
  isOver = true;
  await Promise.all(clients);
  console.log("a worker of api was killed; what web's clients saw:", [...statuses.keys()]);
  console.log("workers replaced:", await metric(api.admin, "remora_worker_restarts_total"));
  if (statuses.size !== 1) throw new Error(`callers noticed: ${JSON.stringify([...statuses])}`);
  if (Math.min(...spread) === 0) throw new Error("one worker had nothing to do");
});
