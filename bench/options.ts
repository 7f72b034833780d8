import path from "node:path";
import { repository } from "./program-path.js";

/** How a benchmark is run; all from the environment, because make passes that on. */
export interface Options {
  /** Length of a run with many connections; runs with one connection and warm-ups are half as long. */
  readonly seconds: number;
  readonly roundCount: number;
  /** Names of data planes; undefined = all. */
  readonly only: readonly string[] | undefined;
  /** Folder for the reports. */
  readonly resultsDir: string;
}

export const connections = 64;

/** BENCH_SECONDS, BENCH_ROUNDS, BENCH_ONLY (names with commas between) and BENCH_RESULTS. Throws on what makes no sense. */
export function readOptions(env: NodeJS.ProcessEnv): Options {
  const only = env["BENCH_ONLY"];
  const roundCount = number(env, "BENCH_ROUNDS", 3, { least: 1, most: 100 });
  return {
    seconds: number(env, "BENCH_SECONDS", 4, { least: 0.1, most: 600 }),
    roundCount: Math.ceil(roundCount),
    only: only === undefined || only === "" ? undefined : only.split(",").map((name) => name.trim()),
    resultsDir: env["BENCH_RESULTS"] ?? path.join(repository, "bench/results"),
  };
}

function number(
  env: NodeJS.ProcessEnv,
  name: string,
  usual: number,
  { least, most }: { readonly least: number; readonly most: number },
): number {
  const text = env[name];
  if (text === undefined || text === "") return usual;
  const value = Number(text);
  if (value >= least && value <= most) return value;
  throw new Error(`${name}=${text}: expected a number from ${least} to ${most}`);
}
