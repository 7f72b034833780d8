import type { Figures, Round } from "./figures.js";
import type { Machine } from "./machine.js";

/** One data plane's part in a report. */
export type Row =
  | (RowHead & { readonly state: "measured"; readonly figures: Figures; readonly rounds: readonly Round[] })
  /** Requests failed: its figures compare with nothing. */
  | (RowHead & {
      readonly state: "invalid";
      readonly reason: string;
      readonly figures: Figures;
      readonly rounds: readonly Round[];
    })
  | (RowHead & { readonly state: "not available"; readonly reason: string });

interface RowHead {
  readonly name: string;
  readonly note: string;
  /** Empty when it is not known. */
  readonly version: string;
}

export interface Report {
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly command: string;
  readonly machine: Machine;
  readonly load: string;
  readonly app: string;
  readonly connections: number;
  readonly seconds: number;
  readonly roundCount: number;
  /** Straight to the application, one connection. */
  readonly directP50Us: number;
  readonly rows: readonly Row[];
  readonly targets: readonly TargetResult[];
}

/** Figures of a row that can be compared; undefined otherwise. */
export function figuresOf(rows: readonly Row[], name: string): Figures | undefined {
  const row = rows.find((each) => each.name === name);
  return row?.state === "measured" ? row.figures : undefined;
}

export interface TargetResult {
  readonly what: string;
  readonly against: string;
  /** The most that Remora's figure may be of the other's. */
  readonly most: number;
  readonly state: "met" | "missed" | "not measured";
  /** undefined: one of the two was not measured. */
  readonly ratio: number | undefined;
}
