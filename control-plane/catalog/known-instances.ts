import { readFile } from "node:fs/promises";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { CatalogState } from "./catalog.js";
import { instanceKey } from "./embedded.js";
import { keepWritten } from "./keep-written.js";

/** Reads the list that keepKnownInstances wrote; empty when there is none or it is damaged, which is no reason to stop. */
export async function readKnownInstances(file: string): Promise<readonly string[]> {
  try {
    const keys: unknown = JSON.parse(await readFile(file, "utf8"));
    return Array.isArray(keys) ? keys.filter((key) => typeof key === "string") : [];
  } catch {
    return [];
  }
}

/**
 * Remembers which instances the embedded registry has, for the next start.
 *
 * @returns what ends it and writes the last state, so that instances that said goodbye are not waited for.
 */
export function keepKnownInstances(
  file: string,
  state: LatestValue<CatalogState | undefined>,
  clock: Clock,
  onError: (error: unknown) => void,
): () => Promise<void> {
  const textOf = (): string | undefined => {
    const known = state.get();
    // Never settled: the list on disk is still the best there is.
    return known === undefined ? undefined : JSON.stringify(keysOf(known));
  };
  return keepWritten({ file, changes: state, textOf, clock, onError });
}

function keysOf(state: CatalogState): string[] {
  return [...state.services.values()].flatMap((service) =>
    service.instances.map(({ id }) =>
      instanceKey({ service: service.name, namespace: service.namespace }, id),
    ),
  );
}
