/** Data planes that are up side by side and are measured in turns, so that a change of the machine's mood hits all alike. */
import { mkdtemp } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DataPlane, Pair, Surroundings } from "./data-plane.js";
import { pairUsage, type PairUsage } from "./pair-usage.js";
import type { Subject } from "./report.js";

/** Processes settle after their start before their idle memory is read. */
const settleMs = 500;

/** A data plane on its way through the rounds. */
export interface Entry<R> {
  readonly plane: DataPlane;
  readonly version: string;
  readonly pair: Pair | undefined;
  /** Before any load. */
  idle: PairUsage | undefined;
  readonly rounds: R[];
  /** Why there is no pair, or no further round. */
  problem: string | undefined;
}

/** One data plane's part in a suite. */
export type Row<F, R> = Subject &
  (
    | { readonly state: "measured"; readonly figures: F; readonly rounds: readonly R[] }
    /** Something failed: its figures compare with nothing. */
    | {
        readonly state: "invalid";
        readonly reason: string;
        readonly figures: F;
        readonly rounds: readonly R[];
      }
    | { readonly state: "not available"; readonly reason: string }
  );

/** Starts them one after the other; one that is missing or fails becomes an entry with a problem. */
export async function startPlanes<R>(
  planes: readonly DataPlane[],
  at: Surroundings & { readonly progress: (line: string) => void },
): Promise<readonly Entry<R>[]> {
  const entries: Entry<R>[] = [];
  for (const plane of planes) {
    at.progress(`starting ${plane.name}`);
    const dir = await mkdtemp(path.join(at.dir, "plane-"));
    entries.push(await startEntry<R>(plane, { ...at, dir }));
  }
  await sleep(settleMs);
  for (const entry of entries) if (entry.pair !== undefined) entry.idle = pairUsage(entry.pair);
  return entries;
}

async function startEntry<R>(plane: DataPlane, at: Surroundings): Promise<Entry<R>> {
  const entry = { plane, version: "", pair: undefined, idle: undefined, rounds: [], problem: undefined };
  try {
    const version = await plane.version(at.processes);
    return { ...entry, version, pair: await plane.start(at) };
  } catch (error) {
    if (at.processes.isStopped) throw error;
    const problem = textOf(error);
    return { ...entry, problem };
  }
}

/** Measures each in turn, round by round. One that fails takes part no more. */
export async function inTurns<R>(
  entries: readonly Entry<R>[],
  roundCount: number,
  at: Pick<Surroundings, "processes"> & { readonly progress: (line: string) => void },
  measure: (pair: Pair, entry: Entry<R>) => Promise<R>,
  describe: (round: R) => string,
): Promise<void> {
  for (let round = 1; round <= roundCount; round++) {
    at.progress(`round ${round} of ${roundCount}`);
    for (const entry of entries) {
      const { pair, plane } = entry;
      if (pair === undefined || entry.problem !== undefined) continue;
      try {
        const result = await measure(pair, entry);
        entry.rounds.push(result);
        at.progress(`  ${plane.name}: ${describe(result)}`);
      } catch (error) {
        if (at.processes.isStopped) throw error;
        entry.problem = textOf(error);
        at.progress(`  ${plane.name}: ${entry.problem}`);
      }
    }
  }
}

/** @param invalidity why figures compare with nothing; undefined when they do. */
export function rowOf<F, R>(
  { plane, version, rounds, idle, problem }: Entry<R>,
  summarize: (rounds: readonly R[], idle: PairUsage) => F,
  invalidity: (figures: F, rounds: readonly R[]) => string | undefined,
): Row<F, R> {
  const head = { name: plane.name, note: plane.note, version };
  if (idle === undefined || rounds.length === 0)
    return { ...head, state: "not available", reason: problem ?? "no round was measured" };
  const figures = summarize(rounds, idle);
  const reason = problem ?? invalidity(figures, rounds);
  return reason === undefined
    ? { ...head, state: "measured", figures, rounds }
    : { ...head, state: "invalid", reason, figures, rounds };
}

/** Figures of a row that can be compared; undefined otherwise. */
export function figuresOf<F, R>(rows: readonly Row<F, R>[], name: string): F | undefined {
  const row = rows.find((each) => each.name === name);
  return row?.state === "measured" ? row.figures : undefined;
}

/** An invalid row shows its figures, marked, so that its cause can be looked for. */
export function shown<F, R>(rows: readonly Row<F, R>[]): readonly (readonly [string, F])[] {
  return rows.flatMap((row) => {
    if (row.state === "not available") return [];
    return [[row.state === "invalid" ? `${row.name} (invalid)` : row.name, row.figures] as const];
  });
}

/** A line for each row that has no figures to compare. */
export function gapsOf<F, R>(rows: readonly Row<F, R>[]): readonly string[] {
  return rows.flatMap((row) =>
    row.state === "measured" ? [] : [`${row.name}: ${row.state}: ${row.reason.replace(/\s+/g, " ")}`],
  );
}

/** The error's message. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
