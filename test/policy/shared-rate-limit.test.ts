import t, { type Test } from "tap";
import type { RateLimitConfig } from "../../src/config/rate-limit-config.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { Limiter } from "../../src/policy/limiter.js";
import { SharedCounts } from "../../src/policy/shared-counts.js";
import { sharedRateLimit } from "../../src/policy/shared-rate-limit.js";
import { RedisStore, type SharedStore } from "../../src/redis/redis-store.js";
import { Counter } from "../../src/telemetry/cells.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { getHeader } from "../../src/traffic/headers.js";
import { run, skipWithout, startRedis } from "../support/brokers.js";
import { FakeClock } from "../support/fake-clock.js";
import { freePort } from "../support/free-port.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";
import { until } from "../support/until.js";

const limiterOf = (changes: Partial<RateLimitConfig> = {}): Limiter => {
  const config: RateLimitConfig = {
    name: "all",
    source: "TrafficPolicy/default/api",
    requests: 1,
    perMs: 60_000,
    burst: 2,
    keys: [],
    scope: "global",
    onUnavailable: "local",
    status: 429,
    retryAfter: true,
    ...changes,
  };
  return new Limiter(config, { admitted: new Counter(), limited: new Counter(), unavailable: new Counter() });
};

/** A store whose answers the test gives. */
class ScriptedStore implements SharedStore {
  isUp = true;
  starts = 0;
  readonly asked: {
    readonly keys: readonly string[];
    readonly args: readonly (string | number)[];
    readonly answer: (value: unknown) => void;
    readonly fail: () => void;
  }[] = [];

  start(): void {
    this.starts++;
  }

  eval(_: string, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return new Promise((resolve, reject) =>
      this.asked.push({ keys, args, answer: resolve, fail: () => reject(new Error("away")) }),
    );
  }
}

const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

function start(limiters: readonly Limiter[], hasStore = true) {
  const store = new ScriptedStore();
  const upstream = new ScriptedService();
  const counts = hasStore ? new SharedCounts(store, "mesh.local") : undefined;
  const service = sharedRateLimit(limiters, { clock: new FakeClock(), counts })(upstream);
  const send = (headers: readonly string[] = []) => {
    const reply = new RecordedReply();
    const call = service.call(scriptedRequest({ headers }), reply);
    return { reply, call };
  };
  return { store, upstream, send };
}

t.test("Redis decides: the request waits for its answer and no longer", async (t) => {
  const own = limiterOf({ name: "own", scope: "local", burst: 2 });
  const all = limiterOf({ keys: [{ type: "header", name: "x-key" }] });
  const { store, upstream, send } = start([own, all]);
  const first = send(["x-key", "secret"]);
  t.equal(upstream.attempts.length, 0);
  t.match(
    store.asked[0]?.keys,
    [/^remora\/mesh\.local\/limit\/all\/[\w-]{22}$/],
    "no key of a caller in the clear",
  );
  t.same(store.asked[0]?.args, [1, 60_000, 2]);
  store.asked[0]?.answer([1, 1, 0]);
  await settled();
  upstream.last.respond(200);
  t.equal(first.reply.outcome, "200");
  t.equal(getHeader(first.reply.headers, "ratelimit"), '"own";r=1, "all";r=1');

  const refused = send();
  store.asked[1]?.answer([0, 0, 1500]);
  await settled();
  t.equal(refused.reply.outcome, "rate_limited");
  t.same(refused.reply.error?.headers.slice(-2), ["retry-after", "2"]);
  t.equal(upstream.attempts.length, 1);

  const again = send();
  t.equal(store.asked.length, 3, "what the refused one took of its own limit was given back");
  store.asked[2]?.answer([1, 0, 60_000]);
  await settled();
  upstream.last.respond(200);
  t.equal(getHeader(again.reply.headers, "ratelimit"), '"own";r=0;t=60, "all";r=0;t=60');
  t.equal(send().reply.outcome, "rate_limited");
  t.equal(store.asked.length, 3, "the own limit says no before Redis is asked");
  t.same([all.meters.admitted.value, all.meters.limited.value, all.meters.unavailable.value], [2, 1, 0]);
});

t.test("a caller that goes while Redis is asked", async (t) => {
  const { store, upstream, send } = start([limiterOf()]);
  const { reply, call } = send();
  call.cancel(new ProxyError("client_gone", "test"));
  t.equal(reply.outcome, "client_gone");
  call.cancel(new ProxyError("client_gone", "test"));
  store.asked[0]?.answer([1, 1, 0]);
  await settled();
  t.equal(upstream.attempts.length, 0);
  const late = send();
  store.asked[1]?.answer([1, 0, 0]);
  await settled();
  late.call.cancel(new ProxyError("client_gone", "test"));
  t.equal(upstream.last.cancelledWith?.code, "client_gone");
  t.equal(late.reply.ends, 1);
});

t.test("without an answer each limit goes by its own rule", async (t) => {
  const cases = [
    { onUnavailable: "local", outcomes: ["200", "200", "rate_limited"], state: '"all";r=1' },
    { onUnavailable: "open", outcomes: ["200", "200", "200"], state: undefined },
    {
      onUnavailable: "closed",
      outcomes: ["rate_limited", "rate_limited", "rate_limited"],
      state: '"all";r=0;t=1',
    },
  ] as const;
  for (const { onUnavailable, outcomes, state } of cases) {
    for (const how of ["fails", "answers nonsense", "is down", "is not there"] as const) {
      const limiter = limiterOf({ onUnavailable });
      const { store, upstream, send } = start([limiter], how !== "is not there");
      store.isUp = how !== "is down";
      const seen: string[] = [];
      for (const _ of outcomes) {
        const { reply } = send();
        if (how === "fails") store.asked.at(-1)?.fail();
        if (how === "answers nonsense") store.asked.at(-1)?.answer("OK");
        if (store.asked.length > 0) await settled();
        if (reply.ends === 0) upstream.last.respond(200);
        if (seen.length === 0) {
          const headers = reply.error?.headers ?? reply.headers;
          t.equal(getHeader(headers, "ratelimit"), state, `${onUnavailable}, ${how}`);
        }
        seen.push(reply.outcome);
      }
      t.same(seen, outcomes, `${onUnavailable}, Redis ${how}`);
      t.equal(limiter.meters.unavailable.value, 3);
    }
  }
  const { send } = start([limiterOf({ onUnavailable: "closed" })], false);
  t.match(
    send().reply.error?.detail,
    /source=TrafficPolicy\/default\/api: Redis cannot be asked, onUnavailable=closed$/,
  );
});

/** Two sidecars at one Redis. */
async function twoAt(t: Test) {
  const port = await freePort();
  await startRedis(t, port);
  const open = async (): Promise<SharedCounts> => {
    const store = new RedisStore({
      url: `redis://127.0.0.1:${port}`,
      clock: systemClock,
      wheel: new TimerWheel(systemClock),
      timeoutMs: 5000,
      onState: () => undefined,
      onFailure: (failure) => t.fail(failure),
    });
    t.teardown(() => store.close());
    const counts = new SharedCounts(store, "mesh.local");
    counts.start();
    await until("Redis", () => counts.isUp);
    return counts;
  };
  const redis = (...args: string[]): Promise<string> => run("redis-cli", ["-p", `${port}`, ...args]);
  return { sides: [await open(), await open()] as const, redis };
}

t.test("the script on a real Redis", { skip: skipWithout("redis-server", "redis-cli") }, async (t) => {
  const { sides, redis } = await twoAt(t);
  const limiter = limiterOf({ burst: 30, requests: 1, perMs: 3_600_000 });
  const takes = Array.from({ length: 100 }, (_, i) => (sides[i % 2] ?? sides[0]).take([limiter], ["k"]));
  const answers = await Promise.all(takes);
  t.equal(answers.filter(({ isAdmitted }) => isAdmitted).length, 30, "of 100 at once from two sidecars");
  const denied = answers.find(({ isAdmitted }) => !isAdmitted);
  t.same(denied?.tokens, [0]);
  t.ok((denied?.waitsMs[0] ?? 0) > 3_590_000);
  const [key = ""] = (await redis("KEYS", "*")).trim().split("\n");
  const ttlMs = Number(await redis("PTTL", key));
  t.ok(ttlMs > 29 * 3_600_000 && ttlMs <= 30 * 3_600_000, `kept until full: ${ttlMs}`);
  t.ok((await sides[0].take([limiter], ["other"])).isAdmitted, "another key, another bucket");

  const narrow = limiterOf({ name: "narrow", burst: 1, perMs: 3_600_000 });
  const wide = limiterOf({ name: "wide", burst: 5, perMs: 3_600_000 });
  const both = () => sides[1].take([narrow, wide], ["a", "a"]);
  t.match(await both(), { isAdmitted: true, tokens: [0, 4] });
  t.match(await both(), { isAdmitted: false, tokens: [0, 4], waitsMs: [/^\d+$/, 0] }, "all or none");

  const quick = limiterOf({ name: "quick", burst: 2, requests: 100, perMs: 1000 });
  let admitted = 0;
  const startedMs = systemClock.monotonicMs();
  while (systemClock.monotonicMs() - startedMs < 300)
    if ((await sides[0].take([quick], [""])).isAdmitted) admitted++;
  const spanMs = systemClock.monotonicMs() - startedMs;
  t.ok(admitted <= 2 + spanMs / 10 + 1, `${admitted} in ${Math.round(spanMs)} ms`);
  t.ok(admitted >= 10, `${admitted}: it refills`);
  limiter.configure({ ...limiter.config, burst: 50, requests: 3_600_000 });
  await new Promise((resolve) => systemClock.timer(20, () => resolve(undefined)));
  t.ok((await sides[0].take([limiter], ["k"])).isAdmitted, "a raised limit helps at once");
});
