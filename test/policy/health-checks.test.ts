/** Active health checks, against transports played by the test. Real processes: test/integration/failover.test.ts. */
import t from "tap";
import { healthCheckDefaults } from "../../src/config/cluster-defaults.js";
import type { HealthCheckConfig, HealthProbeConfig } from "../../src/config/health-check-config.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { CheckSlots } from "../../src/policy/check-slots.js";
import { healthCheckRequest, healthCheckStatus } from "../../src/policy/grpc-health.js";
import { HealthChecker } from "../../src/policy/health-checker.js";
import { HealthGate } from "../../src/policy/health-gate.js";
import { freshHealth, nextHealth } from "../../src/policy/health-state.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { BufferedBody, type BodySink, type BodySource } from "../../src/traffic/body.js";
import { FakeClock } from "../support/fake-clock.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import { seeded } from "../support/seeded-random.js";

const { statuses: ignored, ...defaults } = healthCheckDefaults;
const http: HealthProbeConfig = {
  type: "http",
  method: "GET",
  path: "/health?deep=1",
  host: "api.default",
  statuses: [
    [200, 200],
    [300, 399],
  ],
};
const check = (over: Partial<HealthCheckConfig> = {}): HealthCheckConfig => ({
  ...defaults,
  unhealthyIntervalMs: 2000,
  probe: http,
  ...over,
});

t.test("the state after each result", async (t) => {
  const config = { unhealthyThreshold: 3, healthyThreshold: 2 };
  /** + passed, - failed; after each the state: H or u. */
  const run = (initial: "healthy" | "unhealthy", results: string): string => {
    let state = freshHealth({ initial });
    return [...results]
      .map((result) => ((state = nextHealth(state, result === "+", config)).isHealthy ? "H" : "u"))
      .join("");
  };
  const table = [
    ["healthy", "--+---", "HHHHHu", "failures must be in a row"],
    ["healthy", "---+-++", "HHuuuuH", "and so must successes"],
    ["healthy", "---", "HHu", "a new endpoint is trusted until proven bad"],
    ["unhealthy", "+", "H", "one that waits for its first success needs one"],
    ["unhealthy", "--+---", "uuHHHu", "also after failures"],
    ["unhealthy", "+---++", "HHHuuH", "later the thresholds hold"],
  ] as const;
  for (const [initial, results, expected, why] of table) t.equal(run(initial, results), expected, why);
});

t.test("the messages of grpc.health.v1", async (t) => {
  t.equal(healthCheckRequest("").toString("hex"), "0000000000");
  t.equal(healthCheckRequest("ab").toString("hex"), "00000000040a026162");
  const long = healthCheckRequest("x".repeat(200));
  t.equal(long.subarray(0, 8).toString("hex"), "00000000cb0ac801");
  t.equal(long.length, 5 + 3 + 200);
  const table = [
    ["00000000020801", 1],
    ["00000000020802", 2],
    ["0000000000", 0],
    ["01000000020801", undefined],
    ["000000000208", undefined],
    ["00000000021001", undefined],
    ["", undefined],
  ] as const;
  for (const [hex, expected] of table) t.equal(healthCheckStatus(Buffer.from(hex, "hex")), expected, hex);
});

/** Endpoints with checks; each answers what `answers` holds for it, or nothing. */
function setup(config = check(), count = 1, slots = new CheckSlots()) {
  const clock = new FakeClock();
  clock.randoms = Array.from({ length: 10_000 }, seeded(3));
  const wheel = new TimerWheel(clock);
  const meters = { attempts: new Counter(), successes: new Counter(), failures: new Counter() };
  const events: string[] = [];
  const endpoints = Array.from({ length: count }, (_, i) => ({
    config: endpointConfig(i),
    health: new HealthGate(),
    transport: new ScriptedTransport(),
  }));
  const start = (checks: readonly HealthCheckConfig[]) =>
    new HealthChecker<(typeof endpoints)[number]>({
      ...{ checks, clock, wheel, slots, meters },
      onChange: (endpoint, isHealthy, reason) =>
        events.push(`${endpoint.config.instance} ${isHealthy ? "healthy" : `unhealthy: ${reason}`}`),
    });
  const checker = start([config]);
  checker.sync(endpoints);
  const [endpoint] = endpoints;
  if (endpoint === undefined) throw new Error("no endpoint");
  /** Lets time pass until there is one more request, and gives it back. */
  const next = (of = endpoint) => {
    const before = of.transport.attempts.length;
    for (let ms = 0; ms < 15_000 && of.transport.attempts.length === before; ms += 10) clock.advance(10);
    if (of.transport.attempts.length === before) throw new Error("no check came");
    return of.transport.last;
  };
  return { clock, checker, start, endpoints, endpoint, next, events, meters };
}

t.test("an endpoint that fails is taken out, asked more often, and brought back", async (t) => {
  const { endpoint, next, events, meters, clock } = setup();
  const first = next();
  t.match(first.request.head, { method: "GET", target: "/health?deep=1", authority: "api.default" });
  t.equal(first.request.routeName, "health-check");
  first.respond(200);
  for (const status of [503, 404, 500]) {
    t.ok(endpoint.health.isHealthy);
    next().respond(status);
  }
  t.notOk(endpoint.health.isHealthy);
  t.equal(endpoint.health.reason, "status 500");
  const atMs = clock.monotonicMs();
  next().respond(302);
  t.ok(clock.monotonicMs() - atMs <= 2400, "by the interval for unhealthy ones");
  t.notOk(endpoint.health.isHealthy);
  next().respond(200);
  t.ok(endpoint.health.isHealthy);
  t.same(events, ["api-0 unhealthy: status 500", "api-0 healthy"]);
  t.same([meters.attempts.value, meters.successes.value, meters.failures.value], [6, 3, 3]);
});

t.test("silence, refusals and endless answers", async (t) => {
  const { endpoint, next, clock } = setup(check({ unhealthyThreshold: 1, healthyThreshold: 1 }));
  const silent = next();
  clock.advance(1010);
  t.equal(endpoint.health.reason, "no answer within 1000 ms");
  t.ok(silent.isEnded, "and it is given up");
  next().respond(200);
  t.ok(endpoint.health.isHealthy);
  next().fail("connect_failed");
  t.match(endpoint.health.reason, /scripted/);
  const endless = next();
  let sink: BodySink | undefined;
  const source: BodySource = {
    length: -1,
    attach: (to) => (sink = to),
    resume: () => undefined,
    cancel: () => undefined,
  };
  endless.head(200, [], source);
  for (let i = 0; i < 65 && !endless.isEnded; i++) sink?.write(Buffer.alloc(1024));
  t.ok(endless.isEnded, "what is too long is not read to its end");
  t.ok(endpoint.health.isHealthy, "its status was good");
});

t.test("limits, here and there, and shortages of this machine are no word about the instance", async (t) => {
  const { endpoint, next, events, meters, clock } = setup(
    check({ unhealthyThreshold: 2, healthyThreshold: 2 }),
  );
  const mute = [
    () => next().respond(429, ["x-remora-error", "rate_limited"]),
    () => next().respond(503, ["x-remora-error", "overloaded"]),
    () => next().respond(503, ["x-remora-error", "concurrency_limit"]),
    () => next().respond(503, ["x-remora-error", "queue_timeout"]),
    () => next().fail("concurrency_limit"),
    () => next().fail("keepalive_race"),
    () => next().end(new ProxyError("connect_failed", "scripted", { cause: { code: "EMFILE" } })),
  ];
  next().respond(500);
  for (const say of mute) say();
  t.ok(endpoint.health.isHealthy, "they are no failures in a row");
  next().respond(500);
  t.notOk(endpoint.health.isHealthy, "and they do not end a row");
  const atMs = clock.monotonicMs();
  for (const say of mute) say();
  t.notOk(endpoint.health.isHealthy, "nor are they successes");
  t.ok(clock.monotonicMs() - atMs <= mute.length * 2400, "the next one comes by the same interval");
  t.same(events, ["api-0 unhealthy: status 500"]);
  t.same([meters.attempts.value, meters.successes.value, meters.failures.value], [16, 0, 2]);
  next().respond(503, ["x-remora-error", "connect_failed"]);
  t.equal(meters.failures.value, 3, "that its application is gone is a word");
});

t.test("gRPC: only SERVING with status 0 is healthy", async (t) => {
  const probe: HealthProbeConfig = { type: "grpc", service: "shop.Cart", host: "cart.default" };
  const { endpoint, next } = setup(check({ probe, unhealthyThreshold: 1, healthyThreshold: 1 }));
  const answer = (status: number, trailers: readonly string[], headers: readonly string[] = []): void => {
    const attempt = next();
    attempt.head(200, [...headers], {
      length: -1,
      attach: (sink) => {
        sink.write(Buffer.from([0, 0, 0, 0, 2, 8, status]));
        sink.end([...trailers]);
      },
      resume: () => undefined,
      cancel: () => undefined,
    });
    attempt.end();
  };
  const ok = ["grpc-status", "0"];
  const seen = next();
  t.match(seen.request.head, { method: "POST", target: "/grpc.health.v1.Health/Check" });
  t.equal(seen.body?.length, 5 + 2 + "shop.Cart".length);
  t.ok(seen.request.isGrpc);
  seen.respond(200, ["grpc-status", "12"]);
  t.equal(endpoint.health.reason, "grpc-status 12");
  answer(1, ok);
  t.ok(endpoint.health.isHealthy);
  answer(2, ok);
  t.equal(endpoint.health.reason, "NOT_SERVING");
  answer(1, ok);
  answer(1, []);
  t.equal(endpoint.health.reason, "grpc-status missing");
  next().head(200, ok, new BufferedBody(Buffer.alloc(70_000)));
  t.notOk(endpoint.health.isHealthy);
});

t.test("TCP: a connection that comes about is enough, however it ends", async (t) => {
  const config = check({ probe: { type: "tcp" }, unhealthyThreshold: 1, healthyThreshold: 1 });
  const { endpoint, next, clock } = setup(config);
  const opened = next();
  t.equal(opened.request.head.upgrade, "tcp");
  opened.head(101);
  clock.advance(1010);
  t.ok(opened.isEnded, "not kept open");
  t.ok(endpoint.health.isHealthy);
  next().fail("connect_failed");
  t.notOk(endpoint.health.isHealthy);
  const reset = next();
  reset.head(101);
  reset.fail("upstream_reset");
  t.ok(endpoint.health.isHealthy);
});

t.test("many endpoints are asked spread over time, never more at once than there are slots", async (t) => {
  const { clock, endpoints, meters, checker } = setup(check({ timeoutMs: 5000 }), 200, new CheckSlots(8));
  let most = 0;
  const answered = new Set<unknown>();
  for (let ms = 0; ms < 4000; ms += 10) {
    clock.advance(10);
    const open = endpoints.flatMap(({ transport }) => transport.attempts).filter(({ isEnded }) => !isEnded);
    most = Math.max(most, open.length);
    // Each answer takes a while, so that they queue.
    if (ms % 50 === 0) for (const attempt of open) attempt.respond(200);
    for (const endpoint of endpoints) if (endpoint.transport.attempts.length > 0) answered.add(endpoint);
  }
  t.equal(most, 8);
  t.equal(answered.size, 200, "everybody had a turn");
  const before = meters.attempts.value;
  checker.sync(endpoints.slice(0, 100));
  clock.advance(13_000);
  for (const { transport } of endpoints.slice(100))
    t.ok(transport.attempts.length <= 1 || transport.attempts.every(({ isEnded }) => isEnded));
  t.ok(meters.attempts.value > before);
  checker.close();
  const atEnd = meters.attempts.value;
  clock.advance(60_000);
  t.equal(meters.attempts.value, atEnd, "nothing is asked after the end");
  t.ok(endpoints.every(({ transport }) => transport.attempts.every(({ isEnded }) => isEnded)));
});

t.test(
  "several checks: one that fails is enough, and a new configuration begins with what is known",
  async (t) => {
    const deep = check({ unhealthyThreshold: 1, probe: { ...http, path: "/deep" } as HealthProbeConfig });
    const { start, endpoint, clock, checker, events } = setup();
    checker.close();
    const two = start([check({ unhealthyThreshold: 1 }), deep]);
    two.sync([endpoint]);
    const answerAll = (deepStatus: number): void => {
      for (let ms = 0; ms < 13_000; ms += 10) {
        clock.advance(10);
        for (const attempt of endpoint.transport.attempts)
          if (!attempt.isEnded) attempt.respond(attempt.request.head.target === "/deep" ? deepStatus : 200);
      }
    };
    answerAll(503);
    t.notOk(endpoint.health.isHealthy);
    two.close();
    t.notOk(endpoint.health.isHealthy, "it stays what it was found to be");
    const three = start([check({ initial: "healthy" })]);
    three.sync([endpoint]);
    t.notOk(endpoint.health.isHealthy);
    answerAll(200);
    t.ok(endpoint.health.isHealthy);
    three.close();
    const fresh = { ...endpoint, health: new HealthGate() };
    const waiting = start([check({ initial: "unhealthy" })]);
    waiting.sync([fresh]);
    t.notOk(fresh.health.isHealthy, "one that has to prove itself gets nothing before");
    t.equal(fresh.health.reason, "not checked yet");
    answerAll(200);
    t.ok(fresh.health.isHealthy);
    t.match(events.at(-1), /healthy$/);
  },
);
