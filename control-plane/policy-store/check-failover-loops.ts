import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import type { DocumentProblem } from "./document-error.js";
import { failoverTargets, targetedServices } from "./failover-targets.js";
import type { ParsedDocument } from "./parse-documents.js";
import { idOf, type StoredDocument } from "./stored-document.js";

/**
 * Services that fail over to each other in a circle, as it would be after an apply. Two that carry each other's load fall
 * together: the first one's failure overloads the second, whose failure sends everything back.
 */
export function failoverLoops(
  parsed: readonly ParsedDocument[],
  stored: readonly StoredDocument[],
): readonly DocumentProblem[] {
  const replaced = new Set(parsed.map(({ document }) => idOf(document)));
  const kept = stored.map(({ document }) => document).filter((document) => !replaced.has(idOf(document)));
  /** Key: service; the services that it fails over to. */
  const next = new Map<string, readonly string[]>();
  for (const document of [...kept, ...parsed.map(({ document }) => document)]) {
    if (document.kind !== "TrafficPolicy" || document.spec.failover === undefined) continue;
    const targets = targetsOf(document).filter((target) => target !== undefined);
    for (const service of targetedServices(document)) next.set(service, targets);
  }
  return parsed.flatMap(({ document, position }) => {
    if (document.kind !== "TrafficPolicy") return [];
    return targetsOf(document).flatMap((target, index) => {
      if (target === undefined) return [];
      const loop = targetedServices(document)
        .map((service) => pathTo(service, [service, target], next))
        .find((path) => path !== undefined);
      if (loop === undefined) return [];
      const path = ["spec", "failover", index, "service"];
      const message = `${path.join(".")}: a circle: ${loop.join(" fails over to ")}`;
      return [{ ...position.ofValue(path), message }];
    });
  });
}

/** The way on from the end of `path` to `goal`; undefined when there is none. */
function pathTo(
  goal: string,
  path: readonly string[],
  next: ReadonlyMap<string, readonly string[]>,
): readonly string[] | undefined {
  const seen = new Set<string>();
  const walk = (at: readonly string[]): readonly string[] | undefined => {
    const last = at.at(-1) ?? "";
    if (last === goal) return at;
    if (seen.has(last)) return undefined;
    seen.add(last);
    for (const target of next.get(last) ?? []) {
      const found = walk([...at, target]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return walk(path);
}

/** In the order of the document. Instances in another datacenter are the end of a way: nobody stands behind them. */
function targetsOf(policy: TrafficPolicy): readonly (string | undefined)[] {
  return failoverTargets(policy, "").map(({ key, datacenter }) =>
    datacenter === undefined ? key : undefined,
  );
}
