import { readFile } from "node:fs/promises";
import { writeFileAtomic } from "../../certs/secret-file.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import type { CatalogState } from "./catalog.js";
import { instanceKey } from "./embedded.js";

/** Changes within this time are written together. What a crash loses only makes the next start wait a little longer. */
const quietMs = 1000;

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
  let timer: Timer | undefined;
  let writing = Promise.resolve();
  let written = "";
  const write = (): Promise<void> => {
    timer = undefined;
    const text = JSON.stringify(keysOf(state.get()));
    writing = writing.then(async () => {
      if (text === written) return;
      await writeFileAtomic(file, text).then(() => (written = text), onError);
    });
    return writing;
  };
  const stop = state.watch(() => {
    timer ??= clock.timer(quietMs, () => void write());
  });
  return () => {
    stop();
    timer?.cancel();
    // Never settled: the list on disk is still the best there is.
    return state.get() === undefined ? writing : write();
  };
}

function keysOf(state: CatalogState | undefined): string[] {
  return [...(state?.services.values() ?? [])].flatMap((service) =>
    service.instances.map(({ id }) =>
      instanceKey({ service: service.name, namespace: service.namespace }, id),
    ),
  );
}
