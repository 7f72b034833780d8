/** The short form of `make fuzz`: every seed, and the same mutations in every run. */
import t from "tap";
import { fuzz } from "./fuzz-run.js";
import { hashOf, promise, type FuzzTarget } from "./fuzz-target.js";
import { watchFuzz } from "./fuzz-watch.js";
import { seedsOf } from "./seed-files.js";
import { fuzzTargets } from "./targets.js";

t.test("no input breaks a promise", async (t) => {
  const names = fuzzTargets.map(({ name }) => name);
  const results = await watchFuzz({ names, runs: 150, seconds: 60, seed: 20_260_101 });
  t.same(
    results.map(({ name }) => name),
    names,
  );
  for (const { name, inputs, outcomes, findings } of results) {
    t.same(
      findings.map(({ error, input }) => `${error}\n${input.toString("latin1")}`),
      [],
      `${name}: ${inputs} inputs, ${outcomes} outcomes`,
    );
    t.ok(outcomes > 1, `${name} does not do the same to all inputs`);
  }
});

t.test("every target has seeds of its own", async (t) => {
  for (const target of fuzzTargets) t.ok(seedsOf(target).length > 0, target.name);
});

const broken: FuzzTarget = {
  ...{ name: "broken", weight: 1, maxBytes: 50, words: [Buffer.from("!")] },
  run(input) {
    const text = input.toString("latin1");
    promise(!text.includes("ab!"), () => "ab! is refused");
    // Reached step by step: each is an outcome, kept and mutated further.
    return text.includes("ab") ? "two" : text.includes("a") ? "one" : "none";
  },
};

t.test("a broken promise is found step by step, again with the same seed, and shortened", async (t) => {
  const budget = { runs: 20_000, ms: 20_000, seed: 7 };
  const seeds = [Buffer.from("a"), Buffer.from("b")];
  const once = await fuzz(broken, seeds, budget, () => {});
  const [finding] = once.findings;
  t.match(finding?.error, /ab! is refused/);
  t.equal(finding?.input.toString("latin1"), "ab!");
  const again = await fuzz(broken, seeds, budget, () => {});
  t.equal(again.inputs, once.inputs);
});

t.test("what is thrown outside of a call is a finding too", async (t) => {
  const late: FuzzTarget = {
    ...broken,
    run: async (input) => {
      if (hashOf(input) % 2 === 0) void Promise.reject(new Error("nobody looks"));
      await new Promise((resolve) => setImmediate(resolve));
      return "";
    },
  };
  const { findings } = await fuzz(
    late,
    [Buffer.from("a"), Buffer.from("b")],
    { runs: 0, ms: 0, seed: 1 },
    () => {},
  );
  t.match(findings[0]?.error, /nobody looks/);
});
