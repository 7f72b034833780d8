/** Real processes: an operator drives the breakers of a sidecar with two workers; what an open breaker costs. */
import http from "node:http";
import t from "tap";
import { metric, readAdmin, startMesh, type Running } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call, type Answer } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const apis = await Promise.all(["api-1", "api-2"].map((name) => mesh.join({ name, service: "api" })));
const [first, second] = apis as [Running, Running];
const policy = (spec: string): Promise<void> =>
  mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  loadBalancer: { policy: round_robin }
${spec}
`);
// In turn: whether an instance takes requests must not depend on how quick it was.
await policy("");

async function caller(name: string, workers: string): Promise<Running> {
  const flags = ["--workers", workers];
  const web = await mesh.join({ name, service: name, upstreams: ["api"], flags });
  await mesh.untilKnown(web, "api", apis);
  return web;
}

/** `remora breaker ...` against a sidecar. */
const breaker = (web: Running, ...words: readonly string[]) =>
  runRemora({ args: ["breaker", ...words, "--admin-url", `http://127.0.0.1:${web.admin}`] });

/** So many requests, each by a connection of its own: with two workers both get some. */
async function ask(web: Running, count: number): Promise<readonly Answer[]> {
  const port = web.upstreams.get("api") ?? 0;
  return Promise.all(Array.from({ length: count }, () => call({ port })));
}

const kinds = (answers: readonly Answer[]): readonly string[] => [
  ...new Set(answers.map(({ status, error }) => `${status} ${error ?? ""}`.trim())),
];
const instances = (answers: readonly Answer[]): readonly string[] => [
  ...new Set(answers.map(({ body }) => (JSON.parse(body) as { readonly instance: string }).instance)),
];

t.test("commands hold in every worker, and end by themselves", async (t) => {
  const web = await caller("web", "2");
  t.match(await breaker(web, "open", "api", "--for", "10m"), {
    code: 0,
    out: "api.default: held open for 10m\n",
  });
  t.same(kinds(await ask(web, 40)), ["503 circuit_open"], "both workers refuse");
  t.equal(await metric(web.admin, "remora_service_breaker_rejected_total"), 40);
  t.equal(await metric(web.admin, "remora_service_breaker_state"), 2);
  t.match((await breaker(web, "list")).out, /^api\.default +\(service\) +open +operator /m);

  const { workers } = (await readAdmin(web.admin, "/server_info")) as {
    readonly workers: readonly { readonly pid: number }[];
  };
  const [victim] = workers;
  process.kill(victim?.pid ?? 0, "SIGKILL");
  await until("a new worker", async () => {
    const info = (await readAdmin(web.admin, "/server_info")) as {
      readonly workers: readonly { readonly pid: number; readonly state: string }[];
    };
    const [successor] = info.workers;
    return successor?.state === "ready" && successor.pid !== victim?.pid;
  });
  t.same(kinds(await ask(web, 40)), ["503 circuit_open"], "a worker that comes later, too");
  t.match(await breaker(web, "reset", "api"), { code: 0 });
  t.same(kinds(await ask(web, 40)), ["200"]);

  const address = `127.0.0.1:${second.inbound}`;
  t.match(await breaker(web, "isolate", "api", "--endpoint", address), { code: 0 });
  t.same(instances(await ask(web, 60)), ["api-1"], "nothing goes where it is isolated");
  t.match(
    (await breaker(web, "list")).out,
    new RegExp(`^api\\.default +${address} +isolated +operator `, "m"),
  );
  const last = await breaker(web, "isolate", "api", "--endpoint", `127.0.0.1:${first.inbound}`);
  t.match(last, { code: 1, err: /the last one that takes traffic; with --force/ });
  t.match(await breaker(web, "reset", "api", "--endpoint", address), { code: 0 });
  t.same(instances(await ask(web, 60)).length, 2, "both take requests");

  t.match(await breaker(web, "open", "api", "--for", "1s"), { code: 0 });
  t.same(kinds(await ask(web, 10)), ["503 circuit_open"]);
  await until("the end of what was held", async () => kinds(await ask(web, 10)).join() === "200");
  t.match((await breaker(web, "list")).out, /^api\.default +\(service\) +closed +- /m);

  for (const [words, problem] of [
    [["open", "ghost"], /ghost\.default/],
    [["open", "api", "--for", "2d"], /--for/],
    [["isolate", "api", "--endpoint", "127.0.0.1:1"], /has no endpoint 127\.0\.0\.1:1; it has /],
  ] as const) {
    const { code, err } = await breaker(web, ...words);
    t.not(code, 0, words.join(" "));
    t.match(err, problem);
  }
});

t.test("an open breaker answers within 2 ms, and is half-open when its time is over", async (t) => {
  const web = await caller("hasty", "1");
  await policy(`
  circuitBreaker: { minimumRequests: 5, openFor: 3s, window: 60s }
  outlierDetection: { consecutive5xx: 0, successRate: { minimumRatio: 0 } }`);
  for (const { app } of apis) await call({ port: app, method: "POST", path: "/mode?status=503" });
  await until("an open breaker", async () => kinds(await ask(web, 5)).includes("503 circuit_open"));
  const requests = 400;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const port = web.upstreams.get("api") ?? 0;
  const answers: Answer[] = [];
  // Held by hand, so that a slow machine does not see the end of the opening.
  await breaker(web, "open", "api");
  const labels = { response_code: "503", reporter: "source", response_flags: "UO" };
  const total = "istio_request_duration_milliseconds";
  const within = (le: string): Promise<number> => metric(web.admin, `${total}_bucket`, { ...labels, le });
  const before = { all: await within("+Inf"), quick: await within("1") };
  for (let i = 0; i < requests; i++) answers.push(await call({ port, agent }));
  t.same(kinds(answers), ["503 circuit_open"]);
  t.equal((await within("+Inf")) - before.all, requests, "all are measured in the sidecar");
  const quick = (await within("1")) - before.quick;
  t.ok(quick > requests / 2, `the median is below 1 ms: ${quick} of ${requests} are`);

  await breaker(web, "reset", "api");
  await until("an opening of its own", async () => kinds(await ask(web, 5)).includes("503 circuit_open"));
  const openedMs = performance.now();
  // From here on nobody sends a request.
  t.equal(await metric(web.admin, "remora_service_breaker_state"), 2);
  await until("half-open", async () => (await metric(web.admin, "remora_service_breaker_state")) === 1);
  t.ok(performance.now() - openedMs < 6000 * (await machinePace()));
  t.match((await breaker(web, "list")).out, /^api\.default +\(service\) +half-open +- /m);
});
