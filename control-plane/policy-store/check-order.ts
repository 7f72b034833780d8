import { parseDuration } from "../../src/time/duration.js";
import type { Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Reports a duration that is longer than its upper bound, when the document gives both. */
export function checkOrder(
  path: FieldPath,
  lower: { readonly name: string; readonly text: string | undefined },
  upper: { readonly name: string; readonly text: string | undefined },
  report: Report,
): void {
  if (lower.text === undefined || upper.text === undefined) return;
  if ((parseDuration(lower.text) ?? 0) <= (parseDuration(upper.text) ?? 0)) return;
  report([...path, lower.name], `${lower.text} is longer than ${upper.name} (${upper.text})`);
}
