import fc from "fast-check";
import t from "tap";
import type { AdaptiveConcurrencyConfig } from "../../src/config/load-shedding-config.js";
import { loadSheddingDefaults } from "../../src/config/load-shedding-defaults.js";
import { GradientLimit } from "../../src/policy/gradient-limit.js";
import { LatencyWindow } from "../../src/policy/latency-window.js";
import { seeded } from "../support/seeded-random.js";
import { SimulatedServer } from "../support/simulated-server.js";

const defaults = loadSheddingDefaults.adaptive;

function simulation(seed: number, config: AdaptiveConcurrencyConfig = defaults) {
  const random = seeded(seed);
  const limit = new GradientLimit(config, 0, random);
  return { limit, server: new SimulatedServer(limit, random) };
}

const medianOf = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

t.test("under three times the load the limit settles between once and twice the capacity", async (t) => {
  const servers = [
    { capacity: 8, serviceMs: 25 },
    { capacity: 20, serviceMs: 20 },
    { capacity: 50, serviceMs: 10 },
  ];
  for (const seed of [1, 2])
    for (const server of servers) {
      const { capacity, serviceMs } = server;
      const perSecond = (capacity * 1000) / serviceMs;
      const simulated = simulation(seed).server;
      // 40 windows, most of them of the least length: from the first limit, with nothing known.
      simulated.run(10_000, { ...server, ratePerSecond: 3 * perSecond });
      const { limits, served, meanMs } = simulated.run(5000, { ...server, ratePerSecond: 3 * perSecond });
      const about = `seed ${seed}, ${capacity} at once`;
      const limit = medianOf(limits);
      t.ok(limit >= capacity && limit <= 2.4 * capacity, `${about}: limit ${limit}`);
      t.ok(served > 5 * perSecond * 0.93, `${about}: ${served} served, all that it can`);
      t.ok(meanMs < 2.5 * serviceMs, `${about}: ${Math.round(meanMs)} ms instead of a queue without end`);
    }
});

t.test(
  "a limit that was found is kept: measuring again does not take the quickest answers for all",
  async (t) => {
    const { server, limit } = simulation(1);
    const load = { capacity: 60, serviceMs: 50, ratePerSecond: 3600 };
    server.run(12_000, load);
    for (let i = 0; i < 3; i++) {
      const { limits, served } = server.run(12_000, load);
      t.ok(medianOf(limits) >= 60, `limit ${medianOf(limits)}`);
      t.ok(limit.baselineMs >= 37, `${Math.round(limit.baselineMs)} ms: each takes 25 to 75`);
      t.ok(served > 12 * 1200 * 0.93, `${served} served`);
    }
  },
);

t.test("a limit that cannot fall any further doubts what it knows before long", async (t) => {
  const { limit, server } = simulation(1, { ...defaults, minLimit: 20, maxLimit: 20 });
  const load = (serviceMs: number) => ({ capacity: 1000, serviceMs, ratePerSecond: 2000 });
  server.run(3000, load(20));
  t.ok(limit.baselineMs < 25, `${Math.round(limit.baselineMs)} ms`);
  server.run(4000, load(60));
  t.ok(limit.baselineMs > 45, `${Math.round(limit.baselineMs)} ms`);
});

t.test("a small server at its limit that becomes slower is still used in full", async (t) => {
  const { server } = simulation(1);
  const load = (serviceMs: number) => ({ capacity: 8, serviceMs, ratePerSecond: 384 });
  server.run(8000, load(25));
  server.run(5000, load(75));
  const { served, limits } = server.run(5000, load(75));
  t.ok(served > ((5 * 8000) / 75) * 0.9, `${served} served, limit ${medianOf(limits)}`);
});

t.test("a load that the server can bear is let through, also a tenfold capacity", async (t) => {
  for (const server of [
    { capacity: 20, serviceMs: 20 },
    { capacity: 200, serviceMs: 50 },
  ]) {
    const { server: simulated } = simulation(1);
    const load = { ...server, ratePerSecond: (server.capacity * 500) / server.serviceMs };
    simulated.run(12_000, load);
    t.equal(simulated.run(5000, load).refused, 0, `${server.capacity} at once`);
  }
});

t.test(
  "a slower application is no queue: the limit does not collapse, and is back when the latency is",
  async (t) => {
    const { limit, server } = simulation(1);
    const load = (serviceMs: number) => ({ capacity: 1000, serviceMs, ratePerSecond: 1500 });
    server.run(5000, load(20));
    const before = limit.limit;
    const step = server.run(5000, load(60));
    t.ok(Math.min(...step.limits) >= before * 0.4, `${Math.min(...step.limits)} of ${before}`);
    t.equal(server.run(5000, load(60)).refused, 0, "the new latency is the usual one now");
    server.run(5000, load(20));
    t.equal(server.run(5000, load(20)).refused, 0);
    t.ok(limit.baselineMs < 30, `knows the lower latency: ${Math.round(limit.baselineMs)} ms`);
  },
);

t.test("a server that loses most of its speed is spared, and is used in full when it recovers", async (t) => {
  const { server } = simulation(1);
  const load = (serviceMs: number) => ({ capacity: 20, serviceMs, ratePerSecond: 900 });
  server.run(5000, load(20));
  server.run(5000, load(60));
  const slow = server.run(5000, load(60));
  t.ok(slow.served > (5 * 20_000 * 0.9) / 60, `${slow.served} served at a third of the speed`);
  t.ok(slow.meanMs < 180, `in ${Math.round(slow.meanMs)} ms`);
  server.run(5000, load(20));
  const back = server.run(5000, load(20));
  t.ok(back.served > 5 * 900 * 0.95, `${back.served} of 4500 served`);
});

t.test("whatever comes, the limit keeps its bounds, and whoever is let in is answered for", async (t) => {
  const event = fc.record({
    waitMs: fc.integer({ min: 0, max: 400 }),
    latencyMs: fc.integer({ min: 0, max: 100_000 }),
    active: fc.integer({ min: 1, max: 2000 }),
    isRefused: fc.boolean(),
  });
  const bounds = fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 1000 }));
  fc.assert(
    fc.property(fc.array(event, { maxLength: 300 }), bounds, (events, [minLimit, more]) => {
      const config = { ...defaults, minLimit, maxLimit: minLimit + more };
      const limit = new GradientLimit(config, 0, () => 0.5);
      let nowMs = 0;
      for (const { waitMs, latencyMs, active, isRefused } of events) {
        nowMs += waitMs;
        limit.admitted(active, nowMs);
        if (isRefused) limit.refused();
        limit.answered(nowMs - latencyMs, active, nowMs);
        const isWithin = limit.limit >= minLimit && limit.limit <= minLimit + more;
        if (!isWithin && !limit.isProbing) return false;
        if (limit.othersLimit < 1 || limit.limit < 1 || !Number.isInteger(limit.limit)) return false;
      }
      return true;
    }),
    { numRuns: 200 },
  );
  t.pass("property held");
});

t.test("new bounds hold at once, what was learned stays", async (t) => {
  const { limit, server } = simulation(1);
  server.run(3000, { capacity: 20, serviceMs: 20, ratePerSecond: 3000 });
  const { baselineMs } = limit;
  limit.configure({ ...defaults, minLimit: 50, maxLimit: 60 });
  t.equal(limit.limit, 50);
  t.equal(limit.baselineMs, baselineMs);
});

t.test("a median is right within its resolution", async (t) => {
  const window = new LatencyWindow();
  t.equal(window.median(), 0);
  for (const ms of [0, 1, 7, 7, 9000, 1e9]) window.add(ms);
  t.ok(Math.abs(window.median() - 7) < 0.25, `${window.median()}`);
  window.clear();
  window.add(1e9);
  t.ok(window.median() > 500_000, "what is too long counts as the longest");
});
