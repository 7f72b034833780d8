/** The short form of `make soak`: its machinery, and that descriptors come back after the load. */
import t from "tap";
import { runSoak } from "../soak/run-soak.js";
import { judge, leastSquares, type SoakSample } from "../soak/soak-verdict.js";

t.test("a mesh under mixed load with changes and faults", async (t) => {
  t.setTimeout(220_000);
  const { samples, verdicts, problems, ...counts } = await runSoak(t, {
    ...{ seconds: 15, ratePerSecond: 60, sampleMs: 2000, changeMs: 6000, leafTtl: "8s" },
  });
  t.same(problems.slice(0, 20), []);
  for (const { name, faults } of verdicts) t.same(faults, [], name);
  t.equal(verdicts.length, 3);
  t.ok(samples.length >= 4 && samples.every(({ processes }) => (processes.get("web")?.rssMib ?? 0) > 10));
  t.ok(
    counts.requests >= 600 && counts.policyPushes >= 1 && counts.instanceChanges >= 1,
    JSON.stringify(counts),
  );
});

t.test("what grows is told apart from what is noisy", async (t) => {
  const line = Array.from({ length: 100 }, (_, x) => ({ x, y: 5 + 2 * x }));
  t.same(leastSquares(line), { slope: 2, error: 0 });
  const samplesOf = (rssMib: (minute: number) => number): SoakSample[] =>
    Array.from({ length: 180 }, (_, i) => ({
      ...{ seconds: i * 10, requests: 0, problems: 0 },
      processes: new Map([["web", { rssMib: rssMib(i / 6), descriptors: 30 }]]),
    }));
  const idle = { rssMib: 60, descriptors: 30 };
  const verdict = (rssMib: (minute: number) => number) => judge("web", samplesOf(rssMib), idle, idle).faults;
  t.match(
    verdict((minute) => 60 + minute),
    [/RSS grows by 60/],
    "a leak of 1 MiB a minute",
  );
  t.same(
    verdict((minute) => (minute < 8 ? 60 + 5 * minute : 100)),
    [],
    "a heap that finds its size",
  );
  t.same(
    verdict((minute) => 60 + 20 * ((minute * 7.3) % 1)),
    [],
    "a heap that breathes",
  );
  const leaky = judge("web", [], idle, { ...idle, descriptors: 80 });
  t.match(leaky.faults, [/80 descriptors without load, 30 before/]);
});
