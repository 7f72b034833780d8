import type { DocumentProblem } from "./document-error.js";
import type { ParsedDocument } from "./parse-documents.js";

/** Longest life of an injected fault: whoever wants it longer says so again. */
const maxLifeMs = 7 * 86_400_000;

/**
 * Faults whose end has passed, or is too far off, seen from the moment at which they are applied.
 * @param isApply false: a file that was written at `nowMs` and is only being read; what has ended in it does no harm.
 */
export function faultExpiryProblems(
  parsed: readonly ParsedDocument[],
  nowMs: number,
  isApply: boolean,
): readonly DocumentProblem[] {
  return parsed.flatMap(({ document, position }) => {
    const expires = document.kind === "TrafficPolicy" ? document.spec.fault?.expires : undefined;
    if (expires === undefined) return [];
    const leftMs = Date.parse(expires) - nowMs;
    const problem =
      leftMs <= 0
        ? isApply && `${expires} has passed: the fault would never begin`
        : leftMs > maxLifeMs && `${expires} is more than 7 days ahead: a fault must end by itself`;
    if (problem === false) return [];
    const at = position.ofValue(["spec", "fault", "expires"]);
    return [{ ...at, message: `spec.fault.expires: ${problem}` }];
  });
}
