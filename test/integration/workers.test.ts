// # runs beside others
/** `remora run --workers` as processes of its own, under load: spread, replacement, rotation, pushes, drain, the end. */
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import t, { type Test } from "tap";
import { metric, readAdmin, startMesh, type CliMesh, type Running } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call, startLoad, type Answer } from "../support/http-load.js";
import { until } from "../support/until.js";

interface ServerInfo {
  readonly config: { readonly version: string };
  readonly workers: readonly {
    readonly pid: number;
    readonly state: string;
    readonly config_version: string;
    readonly connections: Readonly<Record<string, number>>;
  }[];
}

const infoOf = async ({ admin }: Running): Promise<ServerInfo> =>
  (await readAdmin(admin, "/server_info")) as ServerInfo;

interface Pair {
  readonly mesh: CliMesh;
  readonly web: Running;
  readonly api: Running;
  /** Local port of web to api. */
  readonly port: number;
}

async function pair(t: Test, controlPlane: readonly string[] = []): Promise<Pair> {
  const mesh = await startMesh(t, { controlPlane });
  const flags = ["--workers", "2"];
  const [web, api] = await Promise.all([
    mesh.join({
      name: "web",
      service: "web",
      upstreams: ["api"],
      flags: [...flags, "--access-log", "json"],
    }),
    mesh.join({ name: "api", service: "api", flags }),
  ]);
  await mesh.untilKnown(web, "api", [api]);
  return { mesh, web, api, port: web.upstreams.get("api") ?? 0 };
}

const outbound = { envoy_http_conn_manager_prefix: "outbound" };

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

t.test("a worker that dies under load is replaced; the others' requests go on", async (t) => {
  const { web, port } = await pair(t);
  const counted = (): Promise<number> => metric(web.admin, "envoy_http_downstream_rq_total", outbound);
  for (let i = 0; i < 40; i++) t.equal((await call({ port })).status, 200);
  t.equal(await counted(), 40, "the metrics of both workers are one");
  const lines = (): number =>
    web.process.log.split("\n").filter((line) => {
      try {
        return (JSON.parse(line) as { path?: string }).path === "/";
      } catch {
        return false;
      }
    }).length;
  await until("whole lines of both workers in the access log", () => lines() === 40);

  const load = startLoad(t, 200, (n) => ({ port, path: `/${n}?ms=20` }));
  await until("some load", () => load.sent > 100);
  const before = await infoOf(web);
  const connections = before.workers.map((worker) => worker.connections[`127.0.0.1:${port}`] ?? 0);
  const all = connections.reduce((sum, count) => sum + count, 0);
  t.ok(Math.min(...connections) >= all / 3, `spread: ${connections.join(", ")}`);
  let highest = 0;
  let isOver = false;
  const watch = (async (): Promise<void> => {
    while (!isOver) {
      const now = await counted();
      if (now < highest) t.fail(`counter went from ${highest} to ${now}`);
      highest = now;
    }
  })();
  const [victim, survivor] = before.workers;
  const killedAtMs = performance.now();
  process.kill(victim?.pid ?? 0, "SIGKILL");
  await until("a new worker", async () => {
    const { workers } = await infoOf(web);
    return workers[0]?.state === "ready" && workers[0].pid !== victim?.pid;
  });
  t.comment(`replaced after ${Math.round(performance.now() - killedAtMs)} ms`);
  const sent = load.sent;
  await until("more load", () => load.sent > sent + 200);
  isOver = true;
  await watch;
  const { failures, succeeded } = await load.stop();
  t.ok(failures.length <= (connections[0] ?? 0) + 1, `${failures.length} failed: ${failures.join("; ")}`);
  for (const failure of failures) t.match(failure, /ECONNRESET|socket hang up/);
  t.ok(succeeded > 300);
  const after = await infoOf(web);
  t.equal(after.workers[1]?.pid, survivor?.pid, "the other one lives on");
  t.equal(await metric(web.admin, "remora_worker_restarts_total"), 1);
  t.equal(web.process.log.split("a worker has ended unexpectedly").length, 2, "one line in the log");
});

t.test("a worker that hangs is replaced, and what it was handed goes to another one", async (t) => {
  const { web, port } = await pair(t);
  const [victim] = (await infoOf(web)).workers;
  process.kill(victim?.pid ?? 0, "SIGSTOP");
  // New connections: about half of them are handed to the one that hangs.
  const answers = await Promise.all(Array.from({ length: 10 }, () => call({ port })));
  t.same(
    answers.map(({ status }) => status),
    Array(10).fill(200),
  );
  const now = (await infoOf(web)).workers;
  t.notOk(
    now.some(({ pid }) => pid === victim?.pid),
    "it is gone",
  );
  t.match(web.process.log, "a worker does not answer any more: it is ended");
});

t.test("rotation, pushes and the end reach all workers", async (t) => {
  const { mesh, web, api, port } = await pair(t, ["--leaf-ttl", "6s"]);
  const first = await inboundSerials(api);
  t.equal(new Set(first).size, 1, "one certificate");
  await until("a rotation in both", async () => {
    const now = await inboundSerials(api);
    return new Set(now).size === 1 && now[0] !== first[0];
  });
  await mesh.apply(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{group: "", kind: Service, name: api}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /here}}]
    backendRefs: [{name: api}]
`);
  await until("the push in both", async () => {
    const { config, workers } = await infoOf(web);
    return workers.length === 2 && workers.every((worker) => worker.config_version === config.version);
  });
  await until("the route in force", async () => (await call({ port, path: "/gone" })).status === 404);
  const both = await Promise.all(
    Array.from({ length: 6 }, (_, n) => call({ port, path: n % 2 ? "/here" : "/gone" })),
  );
  t.same(
    both.map(({ status }) => status),
    [404, 200, 404, 200, 404, 200],
    "the route in both",
  );
  t.equal(await metric(web.admin, "remora_xds_nacks_total"), 0);

  // SIGINT as from a terminal: to all processes of the group. Requests under way are finished.
  const underWay: Promise<Answer>[] = Array.from({ length: 6 }, () => call({ port, path: "/here?ms=2500" }));
  await until(
    "all under way",
    async () => (await metric(api.admin, "envoy_http_downstream_rq_active")) === 6,
  );
  const { workers } = await infoOf(api);
  for (const { pid } of workers) process.kill(pid, "SIGINT");
  api.process.signal("SIGINT");
  t.same(
    (await Promise.all(underWay)).map(({ status }) => status),
    Array(6).fill(200),
  );
  t.same(await api.process.exited, { code: 0, signal: null });
  t.notOk(
    workers.some(({ pid }) => isAlive(pid)),
    "its workers have ended",
  );

  const orphans = (await infoOf(web)).workers;
  t.ok(orphans.every(({ pid }) => isAlive(pid)));
  web.process.signal("SIGKILL");
  await until("no worker without its primary", () => !orphans.some(({ pid }) => isAlive(pid)));
});

/** What several handshakes at once show: each worker gets its share. */
async function inboundSerials({ inbound }: Running): Promise<readonly string[]> {
  const serial = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = tls.connect({ port: inbound, host: "127.0.0.1", rejectUnauthorized: false });
      socket.on("error", reject);
      socket.once("secureConnect", () => {
        const { serialNumber } = socket.getPeerCertificate();
        // Held until the others are there.
        void sleep(50).then(() => socket.destroy());
        resolve(serialNumber);
      });
    });
  return Promise.all(Array.from({ length: 4 }, serial));
}

t.test("a number of workers that is none is refused in one line", async (t) => {
  for (const workers of ["0", "abc", "65", "-1", "1.5"]) {
    const { code, err } = await runRemora({
      args: ["sidecar", "--service", "web", "--port", "1", `--workers=${workers}`],
    });
    t.equal(code, 2, workers);
    t.equal(err, `remora: --workers: "${workers}" is out of range; give a whole number from 1 to 64\n`);
  }
});

t.test("a port in use is told in one line, and nothing is left running", async (t) => {
  const { mesh, web, port } = await pair(t);
  const place = await mesh.place({ name: "other", service: "web", flags: ["--workers", "2"] });
  const args = place.args.map((arg, n) => (place.args[n - 1] === "--inbound" ? String(web.inbound) : arg));
  const { code, err } = await runRemora({ args, env: place.env });
  t.equal(code, 1);
  t.match(
    err,
    new RegExp(`^remora: --inbound: port in use: 127.0.0.1:${web.inbound}; stop the process`, "m"),
  );
  t.equal((await call({ port })).status, 200, "who was there first is still there");
});
