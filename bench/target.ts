/** What Remora aims at, and how a figure compares with it: pure. */

/** The most, or the least, that a figure may be. */
export interface Bound {
  readonly side: "most" | "least";
  readonly value: number;
  /** `x`: a ratio to what it is compared with. */
  readonly unit: "x" | "ms" | "s" | "MB" | "resources";
}

/** One line of the table of targets. */
export interface Target {
  /** Unique in its suite. */
  readonly id: string;
  readonly what: string;
  /** The data plane that the figure is compared with; empty when the bound is absolute. */
  readonly against: string;
  readonly bound: Bound;
}

/** What a suite found for a target. */
export interface Finding {
  /** undefined: nothing that could be compared was measured. */
  readonly value: number | undefined;
  /** Why the value cannot be judged, or what limits it. */
  readonly why?: string;
  /** The value says nothing about the target, for the reason in `why`. */
  readonly isUnfit?: boolean;
}

export interface TargetResult extends Target {
  readonly value: number | undefined;
  readonly state: "met" | "missed" | "not measured";
  /** Empty when nothing is to be said. */
  readonly why: string;
}

/** One result per target, in their order; what was not found was not measured. */
export function judge(
  targets: readonly Target[],
  findings: ReadonlyMap<string, Finding>,
): readonly TargetResult[] {
  return targets.map((target) => {
    const { value, why = "", isUnfit = false } = findings.get(target.id) ?? { value: undefined };
    const isMeasured = value !== undefined && Number.isFinite(value) && !isUnfit;
    const state = isMeasured ? (isWithin(value, target.bound) ? "met" : "missed") : "not measured";
    return { ...target, value, state, why };
  });
}

function isWithin(value: number, { side, value: limit }: Bound): boolean {
  return side === "most" ? value <= limit : value >= limit;
}

/** undefined when one of the two is missing, or was measured too briefly to have a figure. */
export function ratio(own: number | undefined, other: number | undefined): number | undefined {
  return own === undefined || other === undefined || other <= 0 ? undefined : own / other;
}
