import { readFile } from "node:fs/promises";
import { z } from "zod";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { CatalogState } from "./catalog.js";
import type { OtherDatacenters } from "./other-datacenters.js";
import { keepWritten } from "./keep-written.js";

/** Services by datacenter. */
export type KnownDatacenters = ReadonlyMap<string, CatalogState["services"]>;

const Instance = z.object({
  id: z.string(),
  address: z.string(),
  port: z.number(),
  meshPort: z.number().optional(),
  status: z.enum(["passing", "warning", "critical", "maintenance"]),
  protocol: z.enum(["http", "http2", "grpc", "tcp"]),
  weight: z.number(),
  zone: z.string(),
  meta: z.record(z.string(), z.string()),
  tags: z.array(z.string()),
});
const Service = z.object({ name: z.string(), namespace: z.string(), instances: z.array(Instance) });
const Kept = z.record(z.string(), z.record(z.string(), Service));

/** Reads what keepKnownDatacenters wrote; empty when there is nothing or it is damaged, which is no reason to stop. */
export async function readKnownDatacenters(file: string): Promise<KnownDatacenters> {
  try {
    const kept = Kept.parse(JSON.parse(await readFile(file, "utf8")));
    return new Map(
      Object.entries(kept).map(([name, services]) => [
        name,
        new Map(
          Object.entries(services).map(([key, { instances, ...service }]) => [
            key,
            {
              ...service,
              instances: instances.map((instance) => ({ ...instance, meshPort: instance.meshPort })),
            },
          ]),
        ),
      ]),
    );
  } catch {
    return new Map();
  }
}

/**
 * Remembers what other datacenters have: a control plane that starts while one cannot be reached must not take away what
 * sidecars got of it from the one before.
 *
 * @returns what ends it and writes the last state.
 */
export function keepKnownDatacenters(
  file: string,
  state: LatestValue<OtherDatacenters | undefined>,
  clock: Clock,
  onError: (error: unknown) => void,
): () => Promise<void> {
  const textOf = (): string | undefined => {
    const known = state.get();
    if (known === undefined) return undefined;
    const read = [...known.others].filter(([, { isRead }]) => isRead);
    return JSON.stringify(
      Object.fromEntries(read.map(([name, { services }]) => [name, Object.fromEntries(services)])),
    );
  };
  return keepWritten({ file, changes: state, textOf, clock, onError });
}
