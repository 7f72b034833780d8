import fc from "fast-check";
import t, { type Test } from "tap";
import {
  leaseMs,
  RedisIdempotencyStore,
  type RedisIdempotencyOptions,
} from "../../src/policy/idempotency-redis.js";
import { MemoryStore } from "../../src/policy/idempotency-memory.js";
import type { Claim, Found } from "../../src/policy/idempotency-store.js";
import { RedisStore, type SharedStore, StoreUnavailable } from "../../src/redis/redis-store.js";
import { Counter } from "../../src/telemetry/cells.js";
import { systemClock, type Clock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { run, skipWithout, startRedis } from "../support/brokers.js";
import { FakeClock } from "../support/fake-clock.js";
import { freePort } from "../support/free-port.js";
import { until } from "../support/until.js";

function storeOf(
  shared: SharedStore | undefined,
  change: Partial<RedisIdempotencyOptions> = {},
  clock: Clock = systemClock,
) {
  const limits = { ttlMs: 60_000, maxEntries: 100, maxBytes: 1_000_000, maxExecutions: 1000 };
  const local = new MemoryStore(limits, new Counter(), clock);
  const unavailable = new Counter();
  const wheel = new TimerWheel(clock);
  const options = { shared, prefix: "remora/test/once", local, unavailable, wheel, ttlMs: 60_000 };
  const store = new RedisIdempotencyStore({
    ...options,
    onUnavailable: "local",
    maxExecutions: 1000,
    ...change,
  });
  const claim = (id: string, operation = "op"): Promise<Found> =>
    new Promise((resolve) => store.claim(id, operation, resolve));
  return { store, local, unavailable, claim };
}

function claimOf(found: Found): Claim {
  if (found.state !== "claimed") throw new Error(`not claimed but ${found.state}`);
  return found.claim;
}

async function realRedis(t: Test) {
  const port = await freePort();
  await startRedis(t, port);
  const connect = async (): Promise<RedisStore> => {
    const clock = systemClock;
    const shared = new RedisStore({
      ...{ url: `redis://127.0.0.1:${port}`, clock, wheel: new TimerWheel(clock), timeoutMs: 5000 },
      onState: () => undefined,
      onFailure: () => undefined,
    });
    t.teardown(() => shared.close());
    shared.start();
    await until("Redis answers", () => shared.isUp);
    return shared;
  };
  const cli = (...args: readonly string[]): Promise<string> => run("redis-cli", ["-p", `${port}`, ...args]);
  return { connect, cli };
}

const skip = skipWithout("redis-server", "redis-cli");

t.test("two instances and one Redis", { skip }, async (t) => {
  const { connect, cli } = await realRedis(t);
  const [a, b] = [storeOf(await connect()), storeOf(await connect())];

  await t.test("of many claims at once one wins, and all hear its outcome", async (t) => {
    const found = await Promise.all(
      Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? a : b).claim("many")),
    );
    const winners = found.filter(({ state }) => state === "claimed");
    t.equal(winners.length, 1);
    t.equal(found.filter(({ state }) => state === "running").length, 199);
    t.same(await b.claim("many"), { state: "running", operation: "op" });
    const reply = Buffer.from([0, 255, 10, 13, 32]);
    const winner = claimOf(winners[0] as Found);
    winner.keep(reply);
    winner.free();
    await until("the outcome is told", async () => (await b.claim("many")).state === "done");
    for (const store of [a, b]) t.same(await store.claim("many"), { state: "done", reply });
    const leftMs = Number(await cli("pttl", "remora/test/once/many"));
    t.ok(leftMs > 50_000 && leftMs <= 60_000, `${leftMs} ms to live`);
    t.equal(a.store.executions + b.store.executions, 0);
  });

  await t.test("a key that is free again can be claimed by the other", async (t) => {
    claimOf(await a.claim("free")).free();
    await until("it is free", async () => (await cli("exists", "remora/test/once/free")).trim() === "0");
    claimOf(await b.claim("free")).free();
    t.pass();
  });

  await t.test("a lease that has run out is the other's; who lost it changes nothing", async (t) => {
    const lost = claimOf(await a.claim("lease"));
    const leftMs = Number(await cli("pttl", "remora/test/once/lease"));
    t.ok(leftMs > leaseMs - 10_000 && leftMs <= leaseMs, `${leftMs} ms of lease`);
    await cli("del", "remora/test/once/lease");
    const claim = claimOf(await b.claim("lease"));
    lost.keep(Buffer.from("of a"));
    await a.claim("lease");
    t.equal((await a.claim("lease")).state, "running", "b's execution is under way");
    claim.keep(Buffer.from("of b"));
    await until("b's outcome", async () => (await a.claim("lease")).state === "done");
    t.same(await a.claim("lease"), { state: "done", reply: Buffer.from("of b") });
    const late = claimOf(await a.claim("late"));
    await cli("del", "remora/test/once/late");
    late.keep(Buffer.from("late"));
    await until("nobody began anew: it counts", async () => (await b.claim("late")).state === "done");
  });

  await t.test(
    "any order of claims, outcomes and failures: never two at once, never one after an outcome",
    async (t) => {
      const step = fc.record({ at: fc.nat(1), act: fc.constantFrom("claim", "claim", "keep", "free") });
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 20 }), async (steps) => {
          const id = `any-${round++}`;
          let open: Claim | undefined;
          let isKept = false;
          for (const { at, act } of steps) {
            if (act === "claim") {
              const found = await (at === 0 ? a : b).claim(id);
              const expected = isKept ? "done" : open === undefined ? "claimed" : "running";
              if (found.state !== expected) return false;
              if (found.state === "claimed") open = found.claim;
            } else if (open !== undefined) {
              if (act === "keep") open.keep(Buffer.from("x"));
              else open.free();
              isKept = act === "keep";
              open = undefined;
              // The same connection answers in order; the other one is asked when Redis has it.
              const exists = isKept ? "d" : "";
              await until(
                "told",
                async () => (await cli("get", `remora/test/once/${id}`)).trim().slice(0, 1) === exists,
              );
            }
          }
          open?.free();
          return true;
        }),
        { numRuns: 15 },
      );
      t.equal(round >= 15, true);
    },
  );
});

/** A Redis whose answers the test gives. */
class ScriptedShared implements SharedStore {
  isUp = true;
  readonly calls: {
    readonly args: readonly (string | number)[];
    readonly settle: (value: unknown) => void;
  }[] = [];

  start(): void {}

  eval(_script: string, _keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const settle = (value: unknown): void => (value instanceof Error ? reject(value) : resolve(value));
      this.calls.push({ args, settle });
    });
  }

  async answer(value: unknown): Promise<void> {
    this.calls.shift()?.settle(value);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const away = new StoreUnavailable("test");

t.test("Redis is away: the memory takes its place, or nothing is executed", async (t) => {
  for (const shared of [undefined, new ScriptedShared()]) {
    const { claim, unavailable } = storeOf(shared);
    const ask = async (): Promise<Found> => {
      const found = claim("k");
      await shared?.answer(away);
      return found;
    };
    const first = claimOf(await ask());
    t.ok(unavailable.value > 0);
    t.equal((await claim("k")).state, "running", "known here, Redis is not asked");
    first.keep(Buffer.from("kept"));
    t.same(await claim("k"), { state: "done", reply: Buffer.from("kept") });
    const closed = storeOf(shared, { onUnavailable: "closed" });
    const refused = closed.claim("other");
    await shared?.answer(away);
    await shared?.answer(away);
    t.same(await refused, { state: "unavailable", reason: "Redis does not answer" });
  }
});

t.test("what Redis was not told is known here, and told again", async (t) => {
  const clock = new FakeClock();
  const shared = new ScriptedShared();
  const { claim, store } = storeOf(shared, {}, clock);
  const claimed = claim("k");
  await shared.answer("");
  claimOf(await claimed).keep(Buffer.from("kept"));
  t.equal(store.executions, 0);
  t.equal(shared.calls.length, 1);
  await shared.answer(away);
  t.same(await claim("k"), { state: "done", reply: Buffer.from("kept") });
  for (let i = 0; i < 3; i++) {
    clock.advance(1100);
    t.equal(shared.calls.length, 1, "told again");
    t.equal(shared.calls[0]?.args[1], `d ${Buffer.from("kept").toString("base64")}`);
    await shared.answer(i < 2 ? away : 1);
  }
  clock.advance(60_000);
  t.equal(shared.calls.length, 0, "told");
});

t.test("the lease of a long execution is renewed until it has ended; executions are bounded", async (t) => {
  const clock = new FakeClock();
  const shared = new ScriptedShared();
  const { claim, unavailable } = storeOf(shared, { maxExecutions: 1 }, clock);
  const claimed = claim("k");
  await shared.answer("");
  const execution = claimOf(await claimed);
  t.same(await claim("other"), { state: "full", limit: 1 });
  for (let i = 0; i < 6; i++) {
    clock.advance(10_100);
    t.equal(shared.calls[0]?.args[1], leaseMs);
    await shared.answer(i % 2 === 0 ? away : 1);
  }
  t.equal(unavailable.value, 3);
  execution.free();
  await shared.answer(1);
  clock.advance(60_000);
  t.equal(shared.calls.length, 0);
});
