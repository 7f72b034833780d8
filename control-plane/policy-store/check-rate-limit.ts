import { type RateLimitsSpec, rateLimitList } from "../../src/config/documents/rate-limit.js";
import { checkUnique, type Report } from "./field-checks.js";
import type { FieldPath } from "./yaml-position.js";

/** Contradictions inside `rateLimit`. */
export function checkRateLimit(spec: RateLimitsSpec, path: FieldPath, report: Report): void {
  const at = (index: number): FieldPath => (Array.isArray(spec) ? [...path, index] : path);
  rateLimitList(spec).forEach(({ key, scope, onUnavailable }, index) => {
    if (onUnavailable !== undefined && scope !== "global") {
      report([...at(index), "onUnavailable"], "is only for scope: global; a local limit asks nobody");
    }
    key?.forEach(({ header, sourceIdentity }, place) => {
      if ((header === undefined) === (sourceIdentity === undefined)) {
        report([...at(index), "key", place], "needs exactly one of header and sourceIdentity");
      }
    });
    checkUnique(
      (key ?? []).map(({ header, sourceIdentity }) =>
        sourceIdentity === true ? "sourceIdentity" : header?.toLowerCase(),
      ),
      (place) => [...at(index), "key", place],
      "key",
      report,
    );
  });
}
