import type { Machine } from "./machine.js";
import type { TargetResult } from "./target.js";

/** Everything that one run of the benchmark found. */
export interface Report {
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** What repeats the run. */
  readonly command: string;
  readonly machine: Machine;
  readonly durationSeconds: number;
  readonly suites: readonly SuiteReport[];
}

/** What one suite found. */
export interface SuiteReport extends Outcome {
  readonly name: string;
  readonly title: string;
  readonly durationSeconds: number;
  /** One minute's load average before the suite. */
  readonly loadAverage: number;
  readonly targets: readonly TargetResult[];
}

/** What a suite hands in; the targets are judged by what it found. */
export interface Outcome {
  /** What was done, in a sentence or two. */
  readonly how: string;
  /** What was measured and what helped: programs with their versions. */
  readonly subjects: readonly Subject[];
  readonly tables: readonly Table[];
  /** One line for each thing that is missing or cannot be compared. */
  readonly gaps: readonly string[];
  /** Every single measurement, for the JSON file. */
  readonly data: unknown;
  /** Remora's own figures are there. */
  readonly isRemoraMeasured: boolean;
}

export interface Subject {
  readonly name: string;
  /** Empty when it is not known. */
  readonly version: string;
  readonly note: string;
}

/** First column: what the row is about. */
export interface Table {
  /** Empty for the only table of a suite. */
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}
