/** Ejection of endpoints that are far worse than the others. */
import fc from "fast-check";
import t from "tap";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { BreakerConfig } from "../../src/config/breaker-config.js";
import { EjectionBudget } from "../../src/policy/ejection-budget.js";
import { EndpointBreaker } from "../../src/policy/endpoint-breaker.js";
import { outlierBound, SuccessRates, type Rated } from "../../src/policy/success-rates.js";
import { FakeClock } from "../support/fake-clock.js";

const outliers = { minHosts: 5, minRequests: 10, stdevFactor: 1.9 };
/** Nothing else ejects. */
const alone: BreakerConfig = { ...clusterDefaults.breaker, consecutiveFailures: 0, minSuccessRatio: 0 };

t.test("who is an outlier: table", async (t) => {
  const table: (readonly [string, readonly number[], readonly number[], Partial<typeof outliers>?])[] = [
    ["nobody is compared with too few", [1, 1, 1, 0], []],
    ["one that always fails, among five", [1, 1, 1, 1, 0], [0]],
    ["how bad it is does not matter", [1, 1, 1, 1, 0.99], [0.99]],
    ["four never have one at 1.9", [1, 1, 1, 0], [], { minHosts: 2 }],
    ["four have one at 1.7", [1, 1, 1, 0], [0], { minHosts: 2, stdevFactor: 1.7 }],
    ["all alike", [0.1, 0.1, 0.1, 0.1, 0.1, 0.1], []],
    ["all alike, whatever rounding makes of it", [0.1, 0.1, 0.1], [], { minHosts: 2, stdevFactor: 0.1 }],
    ["all fail", [0, 0, 0, 0, 0], []],
    ["all succeed", [1, 1, 1, 1, 1], []],
    ["halves", [1, 1, 1, 0, 0, 0], []],
    ["worse than what is normal here", [0.6, 0.62, 0.58, 0.61, 0.6, 0.6, 0.2], [0.2]],
    ["a larger factor is more patient", [1, 1, 1, 1, 1, 0], [], { stdevFactor: 3 }],
    ["exactly at the bound", [1, 1, 1, 1, 0], [], { stdevFactor: 2 }],
    ["the better one is none", [0, 0, 0, 0, 1], []],
    ["nobody at all", [], [], { minHosts: 0 }],
  ];
  for (const [what, rates, expected, change] of table) {
    const bound = outlierBound(rates, { ...outliers, ...change });
    t.same(
      rates.filter((rate) => bound !== undefined && rate < bound),
      expected,
      what,
    );
  }
});

t.test("property: never all of them, and nobody who is not below the mean", async (t) => {
  const rates = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(rates, fc.double({ min: 0.1, max: 10, noNaN: true }), (all, stdevFactor) => {
      const bound = outlierBound(all, { minHosts: 1, stdevFactor }) ?? -Infinity;
      const mean = all.reduce((sum, rate) => sum + rate, 0) / all.length;
      return bound <= mean && all.some((rate) => rate >= bound);
    }),
  );
  t.pass("held");
});

/** A cluster of `count` endpoints, all compared with each other. */
function cluster(count: number) {
  const clock = new FakeClock();
  const breakers: EndpointBreaker[] = [];
  const endpoints = (): readonly Rated[] => breakers.map((gate) => ({ gate }));
  const rates = new SuccessRates(endpoints);
  const budget = new EjectionBudget(50, () => breakers.map((gate) => ({ gate })));
  const reasons: string[] = [];
  for (let i = 0; i < count; i++) {
    breakers.push(
      new EndpointBreaker({
        ...{ config: { ...alone, outliers }, budget, rates, clock },
        onEvent: ({ state, reason }) => void reasons.push(`${i} ${state} ${reason ?? ""}`.trim()),
      }),
    );
  }
  const record = (endpoint: number, verdicts: string): void => {
    for (const verdict of verdicts)
      breakers[endpoint]?.record(verdict === "+" ? "success" : "failure", false, clock.monotonicMs());
  };
  return { clock, breakers, reasons, record };
}

const well = "+".repeat(10);

t.test("the breaker opens for the one that is worse", async (t) => {
  const { reasons, record } = cluster(6);
  for (let i = 1; i < 6; i++) record(i, well);
  record(0, "+++++++++");
  t.same(reasons, []);
  record(0, "-");
  t.same(reasons, ["0 open outlier"], "with the tenth request");
});

t.test("not compared: too few requests, too few others, others that are out already", async (t) => {
  const quiet = cluster(6);
  for (let i = 1; i < 6; i++) quiet.record(i, well);
  quiet.record(0, "---------");
  t.same(quiet.reasons, []);

  const idle = cluster(6);
  for (let i = 1; i < 4; i++) idle.record(i, well);
  idle.record(0, "----------");
  t.same(idle.reasons, [], "four have enough requests");

  const two = cluster(6);
  for (let i = 2; i < 6; i++) two.record(i, well);
  two.record(0, "----------");
  t.same(two.reasons, ["0 open outlier"]);
  two.record(1, "----------");
  two.clock.advance(1000);
  two.record(1, "-");
  t.same(two.reasons, ["0 open outlier", "1 open outlier"], "compared with those that are left");
});

t.test("off: nobody is compared", async (t) => {
  const clock = new FakeClock();
  const rates = new SuccessRates(() => t.fail("asked") as never);
  const budget = new EjectionBudget(50, () => []);
  const breaker = new EndpointBreaker({
    config: alone,
    budget,
    rates,
    clock,
    onEvent: () => t.fail("opened"),
  });
  for (let i = 0; i < 100; i++) breaker.record("failure", false, 0);
  t.notOk(breaker.isEjected);
});

t.test("thousands of failures look at the others ten times per window", async (t) => {
  let looks = 0;
  const rates = new SuccessRates(() => {
    looks++;
    return [];
  });
  for (let nowMs = 0; nowMs < 10_000; nowMs++) rates.bound(outliers, nowMs, 1000);
  t.equal(looks, 10);
  rates.bound({ ...outliers, minHosts: 2 }, 9999, 1000);
  t.equal(looks, 11, "another configuration at once");
});
