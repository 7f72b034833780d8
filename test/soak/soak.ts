/** `make soak`: SOAK_MINUTES (30) of mixed load; writes .cache/soak/<date>.json and .txt, and fails when something grows. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { runSoak } from "./run-soak.js";
import { maxSlopeMibPerHour, type SoakSample } from "./soak-verdict.js";

const minutes = Number(process.env["SOAK_MINUTES"] ?? 30);
const folder = path.resolve(import.meta.dirname, "../../../.cache/soak");
const lines: string[] = [];
const say = (line: string): void => {
  lines.push(line);
  console.log(line);
};

function describe({ seconds, requests, problems, processes }: SoakSample): string {
  const each = [...processes].map(
    ([name, { rssMib, descriptors }]) => `${name} ${rssMib.toFixed(1)} MiB ${descriptors} fd`,
  );
  return `${seconds.toFixed(0).padStart(5)} s  ${requests} requests  ${problems} problems  ${each.join("  ")}`;
}

const endings: (() => unknown)[] = [];
let hasFailed = true;
const owner = {
  teardown: (fn: () => unknown) => void endings.push(fn),
  passing: () => !hasFailed,
  comment: say,
};
try {
  const report = await runSoak(owner, {
    ...{ seconds: minutes * 60, ratePerSecond: 60, sampleMs: 10_000, changeMs: 20_000, leafTtl: "30s" },
    onSample: (sample) => say(describe(sample)),
  });
  const { verdicts, problems } = report;
  hasFailed = problems.length > 0 || verdicts.some(({ faults }) => faults.length > 0);
  say(
    `${report.requests} requests, ${report.policyPushes} policy pushes, ${report.instanceChanges} instance changes, ${problems.length} problems`,
  );
  for (const problem of problems.slice(0, 50)) say(`  ${problem}`);
  for (const { name, slope, slopeError, descriptorsBefore, descriptorsAfter, faults } of verdicts) {
    const growth = `RSS ${slope.toFixed(1)} ± ${slopeError.toFixed(1)} MiB/h (bound ${maxSlopeMibPerHour})`;
    const verdict = faults.length === 0 ? "ok" : faults.join("; ");
    say(`${name.padEnd(14)} ${growth}, descriptors ${descriptorsBefore} -> ${descriptorsAfter}: ${verdict}`);
  }
  say(hasFailed ? "FAILED" : "PASSED");
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, new Date().toISOString().replace(/[:.]/g, "-"));
  const samples = report.samples.map((sample) => ({
    ...sample,
    processes: Object.fromEntries(sample.processes),
  }));
  writeFileSync(`${file}.json`, JSON.stringify({ minutes, ...report, samples }, undefined, 1));
  writeFileSync(`${file}.txt`, `${lines.join("\n")}\n`);
  console.log(`written to ${path.relative(process.cwd(), file)}.{json,txt}`);
} finally {
  for (const end of endings.reverse()) await end();
}
process.exit(hasFailed ? 1 : 0);
