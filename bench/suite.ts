import type { DataPlane } from "./data-plane.js";
import type { Identities } from "./identities.js";
import type { Options, SuiteTimes } from "./options.js";
import type { Processes } from "./processes.js";
import type { Outcome } from "./report.js";
import type { Finding, Target } from "./target.js";

/** What a suite runs in. */
export interface SuiteContext extends SuiteTimes, Omit<Options, "suites" | "resultsDir"> {
  /** Folder of its own, removed afterwards. */
  readonly dir: string;
  /** Its own: ended afterwards. */
  readonly processes: Processes;
  readonly identities: Identities;
  /** Hears what is being done. */
  readonly progress: (line: string) => void;
}

/** One part of the benchmark: a kind of work, and the targets that belong to it. */
export interface Suite {
  /** As BENCH_SUITES names it. */
  readonly name: string;
  readonly title: string;
  readonly targets: readonly Target[];
  /** Data planes that BENCH_ONLY may choose from; empty when the suite measures Remora by itself. */
  readonly planes: readonly DataPlane[];
  /** Seconds of one measurement and rounds where nobody says otherwise. */
  readonly usual: SuiteTimes;
  /** Throws only when nothing at all could be measured. */
  run(context: SuiteContext): Promise<SuiteOutcome>;
}

export interface SuiteOutcome extends Outcome {
  /** By the id of the target. */
  readonly findings: ReadonlyMap<string, Finding>;
}

/** The data planes of a suite that BENCH_ONLY leaves. */
export function chosenPlanes(
  suite: Pick<Suite, "planes">,
  only: readonly string[] | undefined,
): readonly DataPlane[] {
  return suite.planes.filter(({ name }) => only?.includes(name) ?? true);
}
