// # runs beside others
/** Safe POST with real processes: what is repeated, at once or later, is executed once. */
import http from "node:http";
import { readFile } from "node:fs/promises";
import t from "tap";
import { metric, startMesh, type CliMesh } from "../support/cli-mesh.js";
import { skipWithout, startRedis } from "../support/brokers.js";
import { freePort } from "../support/free-port.js";
import { until } from "../support/until.js";

interface Outcome {
  readonly status: number;
  readonly body: string;
  readonly isReplayed: boolean;
  readonly code: string;
}

interface Post {
  readonly key: string;
  readonly body?: string;
  readonly path?: string;
  readonly agent?: http.Agent;
  /** Goes away after so long. */
  readonly patienceMs?: number;
}

/** Rejects when there is no whole answer, or patience is at its end. */
function post(port: number, { key, body = key, path = "/", agent, patienceMs }: Post): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const headers = { "idempotency-key": `"${key}"`, "content-length": body.length };
    const options = { host: "127.0.0.1", port, method: "POST", path, headers, agent: agent ?? false };
    const request = http.request(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          body: text,
          isReplayed: response.headers["idempotency-replayed"] === "true",
          code: String(response.headers["x-remora-error"] ?? ""),
        }),
      );
    });
    request.on("error", reject);
    if (patienceMs !== undefined) setTimeout(() => request.destroy(new Error("impatient")), patienceMs);
    request.end(body);
  });
}

/** How often the application was told to do this. */
async function executions({ ledger }: CliMesh, body: string): Promise<number> {
  return (await readFile(ledger, "utf8")).split("\n").filter((line) => line === body).length;
}

const policy = (more = ""): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: api}
spec:
  targetRefs: [{kind: Service, name: api}]
  idempotency: {maxBodyBytes: 1KiB${more}}
`;

const isRefused = async (port: number): Promise<boolean> =>
  (await post(port, { key: "x".repeat(256), body: "probe" })).code === "idempotency_key_invalid";

t.test("one instance", async (t) => {
  const mesh = await startMesh(t);
  const [web, api] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    mesh.join({ name: "api-1", service: "api" }),
  ]);
  const port = web.upstreams.get("api") ?? 0;
  await mesh.untilKnown(web, "api", [api]);
  await mesh.apply(policy());
  await until("the policy is in force", () => isRefused(port));

  await t.test("100 at once are executed once, and all that follow are that one", async (t) => {
    const many = Array.from({ length: 100 }, () => post(port, { key: "at-once", path: "/?ms=150" }));
    const outcomes = await Promise.all(many);
    const first = outcomes.filter(({ status, isReplayed }) => status === 200 && !isReplayed);
    t.equal(first.length, 1);
    const others = outcomes.filter(({ status, code }) => status === 409 && code === "idempotency_conflict");
    t.equal(first.length + others.length + outcomes.filter(({ isReplayed }) => isReplayed).length, 100);
    t.ok(others.length > 50, `${others.length} conflicts`);
    t.equal(await executions(mesh, "at-once"), 1);
    const repeated = await Promise.all(
      Array.from({ length: 20 }, () => post(port, { key: "at-once", path: "/?ms=150" })),
    );
    for (const outcome of repeated) t.same(outcome, { ...first[0], isReplayed: true });
    t.equal(await executions(mesh, "at-once"), 1);
    t.equal(
      (await post(port, { key: "at-once", body: "other", path: "/?ms=150" })).code,
      "idempotency_mismatch",
    );
    t.equal((await post(port, { key: "at-once" })).code, "idempotency_mismatch");
    t.equal(await executions(mesh, "other"), 0);
    const count = (result: string): Promise<number> =>
      metric(api.admin, "remora_idempotency_requests_total", { result });
    t.equal(await count("executed"), 1);
    t.equal(await count("conflict"), others.length);
    t.equal(await count("mismatch"), 2);
    t.equal(await metric(api.admin, "remora_idempotency_entries"), 1);
    t.ok((await metric(api.admin, "remora_idempotency_bytes")) > 100);
  });

  await t.test("who goes away finds the result", async (t) => {
    const agent = new http.Agent({ keepAlive: true });
    const path = "/?ms=700";
    await t.rejects(post(port, { key: "gone", path, patienceMs: 200 }), /impatient/);
    const during = await post(port, { key: "gone", path, agent });
    t.equal(during.code, "idempotency_conflict");
    await until("the result", async () => (await post(port, { key: "gone", path, agent })).isReplayed);
    t.equal(await executions(mesh, "gone"), 1);
    agent.destroy();
  });

  await t.test("bodies of many sizes are compared and answered on kept-alive connections", async (t) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (const size of [0, 1, 65_535, 65_536, 65_537, 300_000]) {
      const wanted = { key: `size-${size}`, body: "b".repeat(size), agent };
      t.equal((await post(port, wanted)).isReplayed, false, `${size}`);
      t.equal((await post(port, wanted)).isReplayed, true, `${size} again`);
      const changed = size === 0 ? "c" : `c${wanted.body.slice(1)}`;
      t.equal(
        (await post(port, { ...wanted, body: changed })).code,
        "idempotency_mismatch",
        `${size} changed`,
      );
    }
    agent.destroy();
  });

  await t.test("a push that changes the policy keeps what is stored", async (t) => {
    await mesh.apply(policy(", maxEntries: 5000, required: true"));
    await until("the new policy", async () => {
      const request = http.request({ host: "127.0.0.1", port, method: "POST", agent: false });
      const status = await new Promise((resolve, reject) => {
        request.on("response", (response) => resolve(response.resume().statusCode)).on("error", reject);
        request.end("unkeyed");
      });
      return status === 400;
    });
    t.equal((await post(port, { key: "at-once", path: "/?ms=150" })).isReplayed, true);
  });
});

t.test("two instances and one Redis", { skip: skipWithout("redis-server") }, async (t) => {
  const redisPort = await freePort();
  await startRedis(t, redisPort);
  const mesh = await startMesh(t);
  const flags = ["--redis-url", `redis://127.0.0.1:${redisPort}`];
  const [web, ...apis] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    mesh.join({ name: "api-1", service: "api", flags }),
    mesh.join({ name: "api-2", service: "api", flags }),
  ]);
  const port = web.upstreams.get("api") ?? 0;
  await mesh.untilKnown(web, "api", apis);
  await mesh.apply(
    policy(", store: redis, onUnavailable: closed").replace(
      "spec:",
      "spec:\n  loadBalancer: {policy: round_robin}",
    ),
  );
  await until("the policy is in force at both", async () => {
    const answers = [await isRefused(port), await isRefused(port)];
    const up = await Promise.all(apis.map(({ admin }) => metric(admin, "remora_redis_up")));
    return answers.every((is) => is) && up.every((value) => value === 1);
  });
  const sum = async (result: string): Promise<number> => {
    const counts = await Promise.all(
      apis.map(({ admin }) => metric(admin, "remora_idempotency_requests_total", { result })),
    );
    return counts.reduce((all, count) => all + count, 0);
  };

  const outcomes = await Promise.all(
    Array.from({ length: 100 }, () => post(port, { key: "shared", path: "/?ms=300" })),
  );
  t.equal(outcomes.filter(({ status, isReplayed }) => status === 200 && !isReplayed).length, 1);
  const expected = new Set(["", "idempotency_conflict", "idempotency_store_unavailable"]);
  t.same(
    outcomes.filter(({ code }) => !expected.has(code)),
    [],
  );
  t.equal(await executions(mesh, "shared"), 1);
  t.equal(await sum("executed"), 1);
  for (const { admin } of apis)
    t.ok(
      (await metric(admin, "remora_idempotency_requests_total", { result: "conflict" })) > 10,
      "both were asked",
    );

  const bodies = new Set<string>();
  await until("both instances answer from Redis", async () => {
    const { isReplayed, body } = await post(port, { key: "shared", path: "/?ms=300" });
    if (isReplayed) bodies.add(body);
    const replayed = await Promise.all(
      apis.map(({ admin }) => metric(admin, "remora_idempotency_requests_total", { result: "replayed" })),
    );
    return replayed.every((count) => count > 0);
  });
  t.equal(bodies.size, 1, "the instance that executed stands in all of them");
  t.equal(await executions(mesh, "shared"), 1);

  await t.test("an instance that dies takes nothing along", async (t) => {
    const first = await post(port, { key: "dies" });
    const { instance } = JSON.parse(first.body) as { readonly instance: string };
    // The outcome is on its way to Redis when the caller has its answer: whoever repeats it reads it there.
    await until("Redis is told", async () => (await post(port, { key: "dies" })).isReplayed);
    const dead = apis.find(({ name }) => name === instance);
    await dead?.process.kill();
    await until("the other one answers", async () => {
      const again = await post(port, { key: "dies" });
      return again.isReplayed && again.body === first.body;
    });
    t.equal(await executions(mesh, "dies"), 1);
  });
});
