import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { parseDuration } from "../../src/time/duration.js";
import { parseByteSize } from "../../src/config/byte-size.js";
import { checkTimeouts } from "./check-timeouts.js";
import type { FieldProblem } from "./schema-problems.js";
import type { FieldPath } from "./yaml-position.js";

const maxBufferBytes = 1024 * 1024;

/** Contradictions inside one TrafficPolicy. */
export function checkTrafficPolicy(policy: TrafficPolicy): readonly FieldProblem[] {
  const { spec } = policy;
  const problems: FieldProblem[] = [...checkTimeouts(["spec", "timeouts"], spec.timeouts)];
  const seen = new Set<string>();
  spec.targetRefs.forEach((target, index) => {
    if (seen.has(target.name)) {
      problems.push({
        path: ["spec", "targetRefs", index, "name"],
        message: `service ${target.name} is named twice`,
      });
    }
    seen.add(target.name);
  });
  const ejection = spec.outlierDetection;
  problems.push(
    ...checkOrder(["spec", "outlierDetection"], "baseEjectionTime", ejection?.baseEjectionTime, {
      name: "maxEjectionTime",
      text: ejection?.maxEjectionTime,
    }),
    ...checkOrder(["spec", "retry", "backoff"], "base", spec.retry?.backoff?.base, {
      name: "max",
      text: spec.retry?.backoff?.max,
    }),
  );
  const limit = spec.retry?.bufferLimit;
  if (limit !== undefined && parseByteSize(limit) > maxBufferBytes) {
    problems.push({ path: ["spec", "retry", "bufferLimit"], message: `${limit} is over the limit of 1MiB` });
  }
  return problems;
}

function checkOrder(
  path: FieldPath,
  field: string,
  text: string | undefined,
  upper: { readonly name: string; readonly text: string | undefined },
): readonly FieldProblem[] {
  if (text === undefined || upper.text === undefined) return [];
  if ((parseDuration(text) ?? 0) <= (parseDuration(upper.text) ?? 0)) return [];
  return [{ path: [...path, field], message: `${text} is longer than ${upper.name} (${upper.text})` }];
}
