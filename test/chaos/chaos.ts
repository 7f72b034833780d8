/**
 * `make chaos`: ten services as real processes, failing in every way of scenarios.ts. Prints what a client saw without Remora,
 * with HAProxy where that can do the same, and with Remora, and how much the failing service had to bear. Fails when Remora breaks
 * a promise. Then what no client may notice at all, unnoticed.ts. CHAOS_SECONDS (8) for each scenario and way, CHAOS_ONLY: names of
 * scenarios, with commas.
 */
import { findProgram } from "../../bench/program-path.js";
import type { MeshOwner } from "../support/cli-mesh.js";
import { ChaosMesh } from "./chaos-mesh.js";
import { startHaproxy } from "./haproxy-front.js";
import { direct, runScenario, scenarios, type Seen } from "./scenarios.js";
import { unnoticed } from "./unnoticed.js";

const usualSeconds = Number(process.env["CHAOS_SECONDS"] ?? 8);
const only = process.env["CHAOS_ONLY"]?.split(",").map((name) => name.trim());
/** HAProxy's health checks and passive ones are up to these. */
const comparable = new Set(["crash", "half gone", "hang", "resets", "flapping", "all fail", "slow start"]);

let brokenCount = 0;
const isChosen = ({ name }: { readonly name: string }): boolean => only?.includes(name) ?? true;
const [failing, unnoticedOnes] = [scenarios.filter(isChosen), unnoticed.filter(isChosen)];
if (failing.length + unnoticedOnes.length === 0) {
  const names = [...scenarios, ...unnoticed].map(({ name }) => name);
  throw new Error(`CHAOS_ONLY: no such scenario; there are ${names.join(", ")}`);
}
if (failing.length > 0) await withOwner(runFailing);
for (const { name, what, run } of unnoticedOnes) {
  console.log(`\n== ${name}: ${what}`);
  const { summary, broken } = await withOwner(run);
  console.log(`  ${summary}`);
  judge(broken);
}
console.log(brokenCount === 0 ? "\nall promises kept" : `\n${brokenCount} promises broken`);
process.exit(brokenCount === 0 ? 0 : 1);

/** Ends what `run` started when it is over. */
async function withOwner<T>(run: (owner: MeshOwner) => Promise<T>): Promise<T> {
  const endings: (() => unknown)[] = [];
  try {
    return await run({
      teardown: (fn) => void endings.push(fn),
      passing: () => true,
      comment: (line) => console.log(line),
    });
  } finally {
    for (const end of endings.reverse()) await end();
  }
}

async function runFailing(owner: MeshOwner): Promise<void> {
  console.log("starting ten services, each with a sidecar");
  const mesh = await ChaosMesh.start(owner);
  const program = findProgram("haproxy");
  const haproxy = program === undefined ? undefined : await startHaproxy(owner, mesh, program);
  if (haproxy === undefined) console.log("no HAProxy on this machine: rows without it");
  for (const scenario of failing) {
    const seconds = Math.max(usualSeconds, scenario.leastSeconds ?? 0);
    console.log(
      `\n== ${scenario.name}: ${scenario.what}; ${scenario.ratePerSecond} requests/s for ${seconds} s`,
    );
    const without = await runScenario(mesh, scenario, seconds, direct(mesh, scenario));
    print("without", without);
    if (haproxy !== undefined && comparable.has(scenario.name))
      print("HAProxy", await runScenario(mesh, scenario, seconds, { port: () => haproxy, path: "/" }));
    const remora = await runScenario(mesh, scenario, seconds, undefined);
    print("Remora", remora);
    const { good, sent } = remora.bystanders;
    judge([
      ...scenario.broken(remora, without),
      ...(good === sent ? [] : [`${sent - good} of ${sent} requests to services that stand by failed`]),
    ]);
  }
}

function judge(broken: readonly string[]): void {
  for (const promise of broken) console.log(`  BROKEN: ${promise}`);
  brokenCount += broken.length;
}

function print(way: string, { client, loadFactor }: Seen): void {
  const { sent, good, bad, p50Ms, p99Ms } = client;
  const share = ((good / sent) * 100).toFixed(1).padStart(5);
  const failures = [...bad].map(([what, count]) => `${count} x ${what}`).join(", ");
  const load = loadFactor === undefined ? "-" : `${loadFactor.toFixed(2)}x`;
  console.log(
    `  ${way.padEnd(8)} ${share} % good, p50 ${p50Ms.toFixed(0)} ms, p99 ${p99Ms.toFixed(0)} ms, load on the failing ${load}${failures === "" ? "" : `; ${failures}`}`,
  );
}
