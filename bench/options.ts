import path from "node:path";
import { repository } from "./program-path.js";

/** How long and how often a suite measures. */
export interface SuiteTimes {
  /** Length of one measurement under load; warm-ups and runs with one connection are shorter. */
  readonly seconds: number;
  readonly roundCount: number;
}

/** How a benchmark is run; all from the environment, because make passes that on. */
export interface Options {
  /** Names of suites; undefined = all. */
  readonly suites: readonly string[] | undefined;
  /** Names of data planes; undefined = all. */
  readonly only: readonly string[] | undefined;
  /** Folder for the reports. */
  readonly resultsDir: string;
  /** Size of the transfer that small requests are measured beside. */
  readonly transferMiB: number;
  /** Services in the registry, where their number matters. */
  readonly serviceCount: number;
  /** Sidecars that are connected to one control plane, where their number matters. */
  readonly sidecarCount: number;
}

/** What the targets are about. */
export const usualScale = { serviceCount: 1000, sidecarCount: 1000 } as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws on what makes no sense. */
export function readOptions(env: Environment): Options {
  return {
    suites: names(env["BENCH_SUITES"]),
    only: names(env["BENCH_ONLY"]),
    resultsDir: env["BENCH_RESULTS"] ?? path.join(repository, "bench/results"),
    transferMiB: number(env, ["BENCH_TRANSFER_MIB"], 1024, { least: 1, most: 65_536 }),
    serviceCount: number(env, ["BENCH_SERVICES"], usualScale.serviceCount, { least: 10, most: 9000 }),
    sidecarCount: number(env, ["BENCH_SIDECARS"], usualScale.sidecarCount, { least: 1, most: 8000 }),
  };
}

/** BENCH_<SUITE>_SECONDS and _ROUNDS, else BENCH_SECONDS and BENCH_ROUNDS, else what is usual for the suite. */
export function readTimes(env: Environment, suite: string, usual: SuiteTimes): SuiteTimes {
  const own = `BENCH_${suite.toUpperCase()}`;
  return {
    seconds: number(env, [`${own}_SECONDS`, "BENCH_SECONDS"], usual.seconds, { least: 0.1, most: 600 }),
    roundCount: Math.ceil(
      number(env, [`${own}_ROUNDS`, "BENCH_ROUNDS"], usual.roundCount, { least: 1, most: 100 }),
    ),
  };
}

/** The settings that were given, as they would be typed. */
export function commandOf(env: Environment): string {
  const given = Object.entries(env).filter(
    ([name, value]) => name.startsWith("BENCH_") && name !== "BENCH_RESULTS" && value,
  );
  return [...given.map(([name, value]) => `${name}=${value}`).sort(), "make bench"].join(" ");
}

function names(text: string | undefined): readonly string[] | undefined {
  return text === undefined || text === "" ? undefined : text.split(",").map((name) => name.trim());
}

/** The first of the variables that is set. */
function number(
  env: Environment,
  variables: readonly string[],
  usual: number,
  { least, most }: { readonly least: number; readonly most: number },
): number {
  const name = variables.find((each) => env[each] !== undefined && env[each] !== "");
  if (name === undefined) return usual;
  const value = Number(env[name]);
  if (value >= least && value <= most) return value;
  throw new Error(`${name}=${env[name]}: expected a number from ${least} to ${most}`);
}
