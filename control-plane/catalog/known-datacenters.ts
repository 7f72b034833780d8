import { readFile } from "node:fs/promises";
import { z } from "zod";
import { protocols } from "../../src/config/protocol.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import { instanceStatuses, type CatalogState } from "./catalog.js";
import type { OtherDatacenters } from "./other-datacenters.js";
import { keepWritten } from "./keep-written.js";

/** Services by datacenter. */
export type KnownDatacenters = ReadonlyMap<string, CatalogState["services"]>;

const Instance = z
  .object({
    id: z.string(),
    address: z.string(),
    port: z.number(),
    meshPort: z.number().optional(),
    status: z.enum(instanceStatuses),
    protocol: z.enum(protocols),
    weight: z.number(),
    zone: z.string(),
    meta: z.record(z.string(), z.string()),
    tags: z.array(z.string()),
  })
  .transform((instance) => ({ ...instance, meshPort: instance.meshPort }));
const Service = z.object({ name: z.string(), namespace: z.string(), instances: z.array(Instance) });
const Services = z.record(z.string(), Service).transform((each) => new Map(Object.entries(each)));
const Kept = z.record(z.string(), Services).transform((each) => new Map(Object.entries(each)));

/** Reads what keepKnownDatacenters wrote; empty when there is nothing or it is damaged, which is no reason to stop. */
export async function readKnownDatacenters(file: string): Promise<KnownDatacenters> {
  try {
    return Kept.parse(JSON.parse(await readFile(file, "utf8")));
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
