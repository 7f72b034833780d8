import { mkdir, mkdtemp } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startApp } from "./app.js";
import type { DataPlane, Pair } from "./data-plane.js";
import { median, summarize, type Figures, type Idle, type Round, type SideMeasurement } from "./figures.js";
import { makeIdentities } from "./identities.js";
import { chooseLoad, type LoadGenerator } from "./load.js";
import { describeMachine } from "./machine.js";
import { connections, type Options } from "./options.js";
import { replyBytes } from "./probe.js";
import { processUsage } from "./process-usage.js";
import type { Processes } from "./processes.js";
import type { Report, Row } from "./report.js";
import { judge } from "./targets.js";

/** Processes settle after their start before their idle memory is read. */
const settleMs = 500;

export interface SuiteOptions extends Options {
  readonly planes: readonly DataPlane[];
  /** Folder for everything that is written while it runs. */
  readonly dir: string;
  readonly processes: Processes;
  /** Hears what is being done. */
  readonly progress: (line: string) => void;
}

/**
 * Starts every data plane beside the same application, loads them in turns, round by round, so that a change of the
 * machine's mood hits all alike, and compares the medians. A data plane that is missing or fails becomes a row that says so.
 */
export async function runSuite(options: SuiteOptions): Promise<Report> {
  const { dir, processes, progress, planes, seconds, roundCount } = options;
  const startedAt = new Date().toISOString();
  const machine = await describeMachine();
  const load = await chooseLoad(dir, seconds, processes);
  const app = await startApp(dir, processes);
  const identities = await makeIdentities(dir);
  const entries: Entry[] = [];
  for (const plane of planes) {
    progress(`starting ${plane.name}`);
    const own = await mkdtemp(path.join(dir, "plane-"));
    entries.push(await startEntry(plane, { dir: own, processes, appPort: app.port, identities }));
  }
  await sleep(settleMs);
  for (const entry of entries) if (entry.pair !== undefined) entry.idle = idleUsage(entry.pair);
  for (let round = 1; round <= roundCount; round++) {
    progress(`round ${round} of ${roundCount}`);
    for (const entry of entries)
      await measure(entry, { load, appPort: app.port, seconds, processes, progress });
  }
  const rows = entries.map(rowOf);
  return {
    ...{ startedAt, command: commandOf(options), machine, load: load.name, app: app.name },
    ...{ connections, seconds, roundCount, rows, targets: judge(rows) },
    directP50Us: directP50Us(entries),
  };
}

/** A data plane on its way through the rounds. */
interface Entry {
  readonly plane: DataPlane;
  readonly version: string;
  readonly pair: Pair | undefined;
  idle: Idle | undefined;
  readonly rounds: Round[];
  /** Why there is no pair, or no further round. */
  problem: string | undefined;
}

async function startEntry(plane: DataPlane, at: Parameters<DataPlane["start"]>[0]): Promise<Entry> {
  const entry = { plane, version: "", pair: undefined, idle: undefined, rounds: [], problem: undefined };
  try {
    const version = await plane.version(at.processes);
    await mkdir(at.dir, { recursive: true });
    return { ...entry, version, pair: await plane.start(at) };
  } catch (error) {
    if (at.processes.isStopped) throw error;
    return { ...entry, problem: textOf(error) };
  }
}

function idleUsage({ outboundPid, inboundPid }: Pair): Idle {
  return { outbound: processUsage(outboundPid), inbound: processUsage(inboundPid) };
}

async function measure(
  entry: Entry,
  at: {
    readonly load: LoadGenerator;
    readonly appPort: number;
    readonly seconds: number;
    readonly processes: Processes;
    readonly progress: (line: string) => void;
  },
): Promise<void> {
  const { pair, plane } = entry;
  if (pair === undefined || entry.problem !== undefined) return;
  const { load, appPort, seconds, processes, progress } = at;
  const { port } = pair;
  try {
    // Code gets compiled and pools filled before anything counts.
    await load.run({ port, connections, seconds: seconds / 2 });
    const before = idleUsage(pair);
    const running = load.run({ port, connections, seconds });
    const middle = sleep((seconds * 1000) / 2).then(() => idleUsage(pair));
    const [result, during] = await Promise.all([running, middle]);
    const after = idleUsage(pair);
    const side = (name: keyof Idle): SideMeasurement => ({
      cpuUs: after[name].cpuUs - before[name].cpuUs,
      rssBytes: during[name].rssBytes,
      peakRssBytes: after[name].peakRssBytes,
    });
    const single = await load.run({ port, connections: 1, seconds: seconds / 2 });
    // Right after it, so that both saw the machine in the same state.
    const direct = await load.run({ port: appPort, connections: 1, seconds: seconds / 4 });
    const round: Round = {
      ...{ load: result, single, direct },
      ...{ outbound: side("outbound"), inbound: side("inbound") },
    };
    entry.rounds.push(round);
    const cpu = (name: keyof Idle): string => (round[name].cpuUs / Math.max(1, result.requests)).toFixed(1);
    progress(`  ${plane.name}: ${cpu("outbound")} + ${cpu("inbound")} us CPU per request`);
  } catch (error) {
    if (processes.isStopped) throw error;
    entry.problem = textOf(error);
    progress(`  ${plane.name}: ${entry.problem}`);
  }
}

/** Median over all data planes' rounds; 0 when none was measured. */
function directP50Us(entries: readonly Entry[]): number {
  const all = entries.flatMap(({ rounds }) => rounds.map(({ direct }) => direct.p50Us));
  return all.length === 0 ? 0 : median(all);
}

function rowOf({ plane, version, rounds, idle, problem }: Entry): Row {
  const head = { name: plane.name, note: plane.note, version };
  if (idle === undefined || rounds.length === 0)
    return { ...head, state: "not available", reason: problem ?? "no round was measured" };
  const figures = summarize(rounds, idle);
  const reason = problem ?? invalidity(figures, rounds);
  return reason === undefined
    ? { ...head, state: "measured", figures, rounds }
    : { ...head, state: "invalid", reason, figures, rounds };
}

/** Why figures compare with nothing; undefined when they do. */
function invalidity(figures: Figures, rounds: readonly Round[]): string | undefined {
  const { errors, requests, bytes } = figures;
  if (errors > 0) return `${errors} of ${requests} requests failed`;
  if (rounds.some(({ load, single }) => load.requests === 0 || single.requests === 0))
    return "a run ended without a reply";
  if (bytes < requests * replyBytes) return `replies are incomplete: ${bytes} bytes in ${requests} replies`;
  return undefined;
}

function commandOf({ seconds, roundCount, only }: Options): string {
  const some = only === undefined ? "" : ` BENCH_ONLY=${only.join(",")}`;
  return `BENCH_SECONDS=${seconds} BENCH_ROUNDS=${roundCount}${some} make bench`;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
