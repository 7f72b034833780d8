/** Real processes: limits of a rule of a GRPCRoute; two instances that count in one Redis, which goes away and comes back. */
import t from "tap";
import { skipWithout, startRedis } from "../support/brokers.js";
import { metric, startMesh } from "../support/cli-mesh.js";
import { callWithJs } from "../support/grpc-callers.js";
import { echoService, GrpcEchoServer } from "../support/grpc-peers.js";
import { until } from "../support/until.js";
import { freePort } from "../support/free-port.js";

const policy = `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  loadBalancer: { policy: round_robin }
  rateLimit:
    - { requests: 1, per: 1h, burst: 10, key: [{ header: x-key }], scope: global }
    - { requests: 1, per: 1h, burst: 4, key: [{ header: x-own }] }
`;

t.test("two instances share a limit", { skip: skipWithout("redis-server") }, async (t) => {
  const redisPort = await freePort();
  const redis = await startRedis(t, redisPort);
  const mesh = await startMesh(t);
  const flags = ["--redis-url", `redis://127.0.0.1:${redisPort}`];
  const [web, ...apis] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
    mesh.join({ name: "api-1", service: "api", flags }),
    mesh.join({ name: "api-2", service: "api", flags }),
  ]);
  await mesh.untilKnown(web, "api", apis);
  const port = web.upstreams.get("api") ?? 0;
  const send = async (key: string, own = `${Math.random()}`) => {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { "x-key": key, "x-own": own } });
    const of = (name: string): string => response.headers.get(name) ?? "";
    return { status: response.status, body: await response.text(), of };
  };
  /** How many of `count` requests one after the other passed, and how long the slowest took. */
  const sendMany = async (key: string, count: number) => {
    let passed = 0;
    let slowestMs = 0;
    for (let n = 0; n < count; n++) {
      const startedMs = performance.now();
      const { status } = await send(key);
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
      if (status === 200) passed++;
      else t.equal(status, 429);
    }
    return { passed, slowestMs };
  };
  /** Requests that had to be judged without Redis. */
  const unshared = async (): Promise<number> => {
    const name = "remora_rate_limit_unavailable_total";
    const values = await Promise.all(apis.map(({ admin }) => metric(admin, name)));
    return values.reduce((sum, value) => sum + value, 0);
  };
  /** Ten of both together; on a machine that stood still for 50 ms one more for each answer that came too late. */
  const isShared = async (key: string): Promise<boolean> => {
    const late = await unshared();
    const { passed } = await sendMany(key, 24);
    return passed >= 10 && passed <= 10 + (await unshared()) - late;
  };
  const isUp = async (value: number): Promise<boolean> => {
    const values = await Promise.all(apis.map(({ admin }) => metric(admin, "remora_redis_up", {})));
    return values.every((each) => each === value);
  };

  t.equal(await isUp(0), true, "nothing needs Redis yet");
  const warned = await mesh.remora(["apply", "-f", "-"], policy.replaceAll(/\bapi\b/g, "web"));
  t.match(
    warned.err,
    "service web.default: 1 of 1 connected sidecars without --redis-url, where onUnavailable holds for good: rateLimit #1 of scope global: each instance counts for itself",
  );
  t.match((await mesh.remora(["check"])).out, "TrafficPolicy/default/web: service web.default: 1 of 1");
  t.notMatch((await mesh.remora(["apply", "-f", "-"], policy)).err, "redis-url", "api's have one");
  await until("both instances at Redis", () => isUp(1));
  t.ok(await isShared("a"), "ten of both together");
  const refused = await send("a");
  t.equal(refused.of("x-remora-error"), "rate_limited");
  t.match(
    refused.body,
    /limit service api\.default #1: 1 requests per 1h for each x-key, burst=10, source=TrafficPolicy\/default\/api/,
  );
  t.match(refused.of("retry-after"), /^3[56]\d\d$/);
  t.equal((await sendMany("b", 3)).passed, 3, "another key has its own ten");
  const own = await Promise.all(Array.from({ length: 12 }, (_, n) => send(`own ${n}`, "o")));
  t.equal(own.filter(({ status }) => status === 200).length, 8, "four of each instance");

  redis.kill("SIGKILL");
  await until("both instances without Redis", () => isUp(0));
  const before = await unshared();
  const alone = await sendMany("c", 30);
  t.equal(alone.passed, 20, "each instance counts for itself");
  t.ok(alone.slowestMs < 1000, `the slowest took ${Math.round(alone.slowestMs)} ms`);
  t.equal((await unshared()) - before, 30, "and says so");

  await startRedis(t, redisPort);
  await until("both instances at Redis again", () => isUp(1));
  t.ok(await isShared("d"), "together again");
});

const grpcDocuments = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: echo }
spec:
  parentRefs: [{ name: echo }]
  rules:
    - name: dear
      matches: [{ method: { service: ${echoService}, method: Unary } }]
      backendRefs: [{ name: echo }]
    - backendRefs: [{ name: echo }]
---
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: dear }
spec:
  targetRefs: [{ kind: GRPCRoute, name: echo, sectionName: dear }]
  rateLimit: { requests: 1, per: 1m, burst: 2, key: [{ sourceIdentity: true }] }
`;

t.test("calls of one rule of a GRPCRoute are limited, the others are not", async (t) => {
  const mesh = await startMesh(t);
  const [web, shop] = await Promise.all([
    mesh.join({ name: "web", service: "web", upstreams: ["echo"] }),
    mesh.join({ name: "shop", service: "shop", upstreams: ["echo"] }),
  ]);
  const place = await mesh.place({
    name: "echo",
    service: "echo",
    command: [],
    flags: ["--protocol", "grpc"],
  });
  const server = await GrpcEchoServer.start(place.app);
  t.teardown(() => server.close());
  const echo = { ...place, process: mesh.run(place) };
  await mesh.untilKnown(web, "echo", [echo]);
  await mesh.untilKnown(shop, "echo", [echo]);
  const send = (from: typeof web, method: "Unary" | "ServerStream") =>
    callWithJs(`127.0.0.1:${from.upstreams.get("echo") ?? 0}`, method, { deadlineMs: 10_000 });
  await mesh.apply(grpcDocuments);
  await until(
    "the limit in force",
    async () => (await send(web, "Unary")).headers["ratelimit"] !== undefined,
  );
  const [second, refused] = [await send(web, "Unary"), await send(web, "Unary")];
  t.equal(second.status, 0);
  t.equal(second.headers["ratelimit"], '"GRPCRoute/default/echo rule dear";r=0;t=60');
  t.equal(refused.status, 8, "RESOURCE_EXHAUSTED");
  t.match(refused.details, /^rate limit exceeded: limit GRPCRoute\/default\/echo rule dear/);
  t.match({ ...refused.headers, ...refused.trailers }["grpc-retry-pushback-ms"], /^(60|5\d)000$/);
  t.equal((await send(shop, "Unary")).status, 0, "another caller has its own");
  for (let n = 0; n < 5; n++) t.equal((await send(web, "ServerStream")).status, 0);
  t.equal(await metric(echo.admin, "remora_rate_limit_requests_total", { result: "limited" }), 1);
});
