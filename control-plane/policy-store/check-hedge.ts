import type { HedgeSpec } from "../../src/config/documents/hedge.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `hedge`. */
export function checkHedge(spec: HedgeSpec, path: FieldPath, report: Report): void {
  const { delay, percentile, minDelay } = spec;
  if (delay === undefined && percentile === undefined)
    report(path, 'needs the field "delay" or "percentile"');
  if (delay !== undefined && percentile !== undefined)
    report([...path, "percentile"], "a hedge has delay or percentile, not both");
  if (minDelay !== undefined && percentile === undefined)
    report([...path, "minDelay"], 'needs the field "percentile"');
}
