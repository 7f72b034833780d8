/** `make bench`: Remora against other data planes, in one run on one machine. README.md beside it says how to read it. */
import { rmSync } from "node:fs";
import { mkdir, mkdtemp } from "node:fs/promises";
import os, { tmpdir } from "node:os";
import path from "node:path";
import { makeIdentities, type Identities } from "./identities.js";
import { describeMachine } from "./machine.js";
import { commandOf, readOptions, readTimes, type Options } from "./options.js";
import { Processes } from "./processes.js";
import type { SuiteReport } from "./report.js";
import { writeResults } from "./results.js";
import { textOf } from "./rounds.js";
import type { Suite } from "./suite.js";
import { fleet } from "./suites/fleet.js";
import { grpc } from "./suites/grpc.js";
import { http1 } from "./suites/http1.js";
import { memory } from "./suites/memory.js";
import { mixed } from "./suites/mixed.js";
import { start } from "./suites/start.js";
import { tcp } from "./suites/tcp.js";
import { workers } from "./suites/workers.js";
import { reportText } from "./table.js";
import { judge } from "./target.js";

const all: readonly Suite[] = [http1, grpc, tcp, mixed, memory, start, workers, fleet];

const dir = await mkdtemp(path.join(tmpdir(), "remora-bench-"));
const processes = new Processes();
const removeDir = (): void => rmSync(dir, { recursive: true, force: true });
const progress = (line: string): void => console.error(line);
// Whatever ends this process, what it started and wrote goes with it.
process.once("exit", () => {
  processes.stopNow();
  removeDir();
});
const interrupted = (signal: NodeJS.Signals): void => {
  const end = (): never => process.exit(signal === "SIGINT" ? 130 : 143);
  processes.stop().then(end, end);
};
process.once("SIGINT", interrupted);
process.once("SIGTERM", interrupted);

try {
  const options = readOptions(process.env);
  const suites = chooseSuites(options);
  for (const suite of suites) readTimes(process.env, suite.name, suite.usual); // refuses before anything runs
  const startedAt = new Date();
  const machine = await describeMachine();
  const identities = await makeIdentities(dir);
  const reports: SuiteReport[] = [];
  for (const suite of suites) reports.push(await runSuite(suite, options, identities));
  const report = {
    ...{ startedAt: startedAt.toISOString(), command: commandOf(process.env), machine, suites: reports },
    durationSeconds: (Date.now() - startedAt.getTime()) / 1000,
  };
  const files = await writeResults(report, options.resultsDir, suites.length === all.length);
  console.log(`\n${reportText(report)}\n\nWritten to ${files.join(" and ")}`);
  // A missing peer is a gap in the comparison; a Remora that cannot be measured is a failure.
  if (reports.some(({ isRemoraMeasured }) => !isRemoraMeasured)) process.exitCode = 1;
} catch (error) {
  if (!processes.isStopped) {
    console.error(`bench: ${textOf(error)}`);
    process.exitCode = 1;
  }
} finally {
  await processes.stop();
}

/** One suite with processes and a folder of its own, both gone afterwards. */
async function runSuite(suite: Suite, options: Options, identities: Identities): Promise<SuiteReport> {
  const times = readTimes(process.env, suite.name, suite.usual);
  const startMs = performance.now();
  const loadAverage = os.loadavg()[0] ?? 0;
  const own = path.join(dir, suite.name);
  await mkdir(own);
  progress(`== ${suite.title}`);
  const head = { name: suite.name, title: suite.title, loadAverage };
  const duration = (): number => (performance.now() - startMs) / 1000;
  try {
    const { findings, ...outcome } = await suite.run({
      ...{ ...options, ...times, dir: own, processes, identities, progress },
    });
    return { ...head, ...outcome, targets: judge(suite.targets, findings), durationSeconds: duration() };
  } catch (error) {
    if (processes.isStopped) throw error;
    const gap = `not measured: ${textOf(error).replace(/\s+/g, " ")}`;
    progress(gap);
    return {
      ...{ ...head, how: "", subjects: [], tables: [], gaps: [gap], data: null, isRemoraMeasured: false },
      ...{ targets: judge(suite.targets, new Map()), durationSeconds: duration() },
    };
  } finally {
    if (!processes.isStopped) await processes.endAll();
    rmSync(own, { recursive: true, force: true });
  }
}

/** Throws when a name is unknown. */
function chooseSuites({ suites: names, only }: Options): readonly Suite[] {
  const planes = new Set(all.flatMap((suite) => suite.planes.map(({ name }) => name)));
  refuseUnknown("BENCH_ONLY", "data plane", only, [...planes]);
  refuseUnknown(
    "BENCH_SUITES",
    "suite",
    names,
    all.map(({ name }) => name),
  );
  return all.filter(({ name }) => names?.includes(name) ?? true);
}

function refuseUnknown(
  variable: string,
  what: string,
  given: readonly string[] | undefined,
  known: readonly string[],
): void {
  const unknown = given?.filter((name) => !known.includes(name)) ?? [];
  if (unknown.length > 0)
    throw new Error(`${variable}: no ${what} ${unknown.join(", ")}; there are ${known.join(", ")}`);
}
