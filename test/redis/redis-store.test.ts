import { execFile } from "node:child_process";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import {
  type ConnectOptions,
  type RedisConnection,
  RedisReplyError,
} from "../../src/redis/redis-connection.js";
import { RedisStore, type StoreFailure, StoreUnavailable } from "../../src/redis/redis-store.js";
import { systemClock, type Clock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { run, skipWithout, startRedis } from "../support/brokers.js";
import { FakeClock } from "../support/fake-clock.js";
import { freePort } from "../support/free-port.js";
import { until } from "../support/until.js";

function storeOf(
  t: Test,
  options: { clock: Clock; url?: string; connect?: (options: ConnectOptions) => Promise<RedisConnection> },
) {
  const { clock, url = "redis://127.0.0.1:1", connect } = options;
  const states: string[] = [];
  const failures: StoreFailure[] = [];
  const store = new RedisStore({
    url,
    clock,
    wheel: new TimerWheel(clock),
    onState: (isUp, reason) => states.push(isUp ? "up" : `down: ${reason}`),
    onFailure: (failure) => failures.push(failure),
    ...(connect !== undefined && { connect }),
  });
  t.teardown(() => store.close());
  return { store, states, failures };
}

const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** What became of a call: its value, or how it failed. */
async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (error) {
    return error instanceof StoreUnavailable ? `unavailable: ${error.message}` : error;
  }
}

t.test("a sidecar that needs no Redis does not load its client", async (t) => {
  const app = new URL("../../src/app.js", import.meta.url).href;
  const script = `await import(${JSON.stringify(app)});
    const { _cache } = (await import("node:module")).default;
    const loaded = Object.keys(_cache);
    console.log(loaded.some((file) => file.includes("grpc-js")), loaded.some((file) => file.includes("@redis")));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  t.equal(stdout.trim(), "true false");
});

t.test(
  "a store that hangs is left after three calls, and taken up again when a connection answers",
  async (t) => {
    const clock = new FakeClock();
    const servers: {
      mode: "answers" | "hangs" | "refuses";
      destroyed: number;
      lose: (error: Error) => void;
    }[] = [];
    let mode: "answers" | "hangs" | "refuses" = "answers";
    let dials = 0;
    const { store, states, failures } = storeOf(t, {
      clock,
      connect: async ({ onLost }) => {
        dials++;
        if (mode !== "answers") throw new Error("refused");
        const server = { mode, destroyed: 0, lose: onLost };
        servers.push(server);
        return {
          send: () => (mode === "hangs" ? new Promise(() => undefined) : Promise.resolve(7)),
          destroy: () => void server.destroyed++,
        };
      },
    });
    t.match(
      await outcome(store.eval("s", [], [])),
      "unavailable: Redis is not connected",
      "nobody has asked for it yet",
    );
    t.equal(dials, 0);
    store.start();
    store.start();
    await settled();
    t.equal(dials, 1);
    t.same([store.isUp, states], [true, ["up"]]);
    t.equal(await store.eval("s", ["k"], [1]), 7);

    mode = "hangs";
    for (let i = 1; i <= 3; i++) {
      const call = outcome(store.eval("s", [], []));
      clock.advance(61);
      t.equal(await call, "unavailable: Redis did not answer within 50 ms");
      t.equal(store.isUp, i < 3, `after ${i}`);
    }
    t.equal(servers[0]?.destroyed, 1);
    t.same(states.slice(1), ["down: 3 scripts in a row had no answer within 50 ms"]);
    t.equal(await outcome(store.eval("s", [], [])), "unavailable: Redis is not connected", "at once");
    for (let i = 0; i < 5; i++) {
      clock.advance(6000);
      await settled();
    }
    t.ok(dials >= 4 && dials <= 7, `${dials} dials`);
    t.equal(states.length, 2, "said once");

    mode = "answers";
    clock.advance(6000);
    await settled();
    t.same(states.slice(2), ["up"]);
    t.equal(await store.eval("s", [], []), 7);
    servers.at(-1)?.lose(new Error("reset"));
    t.same([store.isUp, states.at(-1)], [false, "down: reset"]);
    t.same(failures, ["down", "timeout", "timeout", "timeout", "down"]);
    store.close();
    const before = dials;
    clock.advance(60_000);
    await settled();
    t.equal(dials, before, "closed is closed");
  },
);

t.test("single slow answers and error replies leave the connection", async (t) => {
  const clock = new FakeClock();
  let next: () => Promise<unknown> = () => Promise.resolve(1);
  const { store, states, failures } = storeOf(t, {
    clock,
    connect: async () => ({ send: () => next(), destroy: () => undefined }),
  });
  store.start();
  await settled();
  for (let i = 0; i < 5; i++) {
    next = () => new Promise(() => undefined);
    const call = outcome(store.eval("s", [], []));
    clock.advance(61);
    await call;
    next = () => Promise.reject(new RedisReplyError("OOM command not allowed"));
    t.equal(await outcome(store.eval("s", [], [])), "unavailable: OOM command not allowed");
  }
  t.same(states, ["up"]);
  t.same(new Set(failures), new Set(["timeout", "reply"]));
});

t.test("a server that is no primary is left, and asked less and less often", async (t) => {
  const clock = new FakeClock();
  let dials = 0;
  let isPrimary = false;
  const readOnly =
    "ERR Error running script: @user_script:25: -READONLY You can't write against a read only replica.";
  const { store, states, failures } = storeOf(t, {
    clock,
    async connect() {
      dials++;
      return {
        send: () => (isPrimary ? Promise.resolve(1) : Promise.reject(new RedisReplyError(readOnly))),
        destroy: () => undefined,
      };
    },
  });
  store.start();
  await settled();
  t.equal(await outcome(store.eval("s", [], [])), `unavailable: ${readOnly}`);
  t.same([store.isUp, states.at(-1), failures], [false, `down: ${readOnly}`, ["reply"]]);
  for (let elapsedMs = 0; elapsedMs < 60_000; elapsedMs += 50) {
    clock.advance(50);
    await settled();
    if (store.isUp) await outcome(store.eval("s", [], []));
  }
  t.ok(dials >= 12 && dials <= 60, `${dials} connections in a minute`);
  isPrimary = true;
  clock.advance(6000);
  await settled();
  t.equal(await store.eval("s", [], []), 1);
  t.ok(store.isUp);
});

t.test(
  "a real Redis that becomes a replica, and the primary again",
  { skip: skipWithout("redis-server", "redis-cli") },
  async (t) => {
    const port = await freePort();
    await startRedis(t, port);
    const { store, states } = storeOf(t, { clock: systemClock, url: `redis://127.0.0.1:${port}` });
    store.start();
    await until("Redis is up", () => store.isUp);
    const count = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    t.equal(await store.eval(count, ["a"], [2]), 2);
    const replicaOf = (...primary: readonly string[]) =>
      run("redis-cli", ["-p", `${port}`, "replicaof", ...primary]);
    await replicaOf("127.0.0.1", "1");
    t.match(await outcome(store.eval(count, ["a"], [2])), /^unavailable: .*READONLY/);
    t.notOk(store.isUp);
    t.match(states.at(-1), /^down: .*READONLY/);
    await replicaOf("no", "one");
    await until("Redis is up", () => store.isUp);
    t.equal(await store.eval(count, ["a"], [2]), 4);
  },
);

t.test("a real Redis", { skip: skipWithout("redis-server") }, async (t) => {
  const port = await freePort();
  const { store, states } = storeOf(t, { clock: systemClock, url: `redis://127.0.0.1:${port}` });
  store.start();
  await until("a first state", () => states.length > 0);
  t.match(states[0], /^down: .*ECONNREFUSED/);
  const first = await startRedis(t, port);
  await until("Redis is up", () => store.isUp);
  const count = "return {redis.call('INCRBY', KEYS[1], ARGV[1]), 'text'}";
  t.same(await store.eval(count, ["a"], [2]), [2, "text"], "not known to the server yet");
  t.same(await store.eval(count, ["a"], [3]), [5, "text"]);
  t.match(
    await outcome(store.eval("return redis.call('INCR')", [], [])),
    /^unavailable: .*[Ww]rong number of arg/,
  );
  t.ok(store.isUp);

  first.kill("SIGSTOP");
  const startedMs = systemClock.monotonicMs();
  for (let i = 0; i < 100; i++) await outcome(store.eval(count, ["a"], [1]));
  const tookMs = systemClock.monotonicMs() - startedMs;
  t.ok(tookMs < 1000, `100 calls of a server that hangs took ${Math.round(tookMs)} ms`);
  t.notOk(store.isUp);
  first.kill("SIGCONT");
  await until("Redis is up", () => store.isUp);
  t.same(await store.eval(count, ["b"], [1]), [1, "text"]);
  first.kill("SIGKILL");
  await until("Redis is down", () => !store.isUp);
  await startRedis(t, port);
  await until("Redis is up", () => store.isUp);
  t.same(await store.eval(count, ["b"], [1]), [1, "text"], "a new server has neither keys nor scripts");
});
