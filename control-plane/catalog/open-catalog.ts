import path from "node:path";
import type { Clock } from "../../src/time/clock.js";
import type { ConsulSettings } from "../settings.js";
import type { Logger } from "../telemetry/log.js";
import type { Catalog } from "./catalog.js";
import { createConsulCatalog } from "./consul.js";
import type { RefuseAddress } from "./consul-health.js";
import { createEmbeddedCatalog, type EmbeddedCatalog } from "./embedded.js";
import { keepKnownInstances, readKnownInstances } from "./known-instances.js";

export interface OpenCatalog {
  readonly catalog: Catalog;
  /** Set when it is the embedded one: what registrations go into. */
  readonly embedded: EmbeddedCatalog | undefined;
  /** Call it before the registration streams are ended, or the next start finds nobody to wait for. */
  close(): Promise<void>;
}

/** The registry that the settings ask for. @throws ConfigError for a Consul URL or CA file that cannot be used. */
export async function openCatalog(options: {
  readonly consul: ConsulSettings | undefined;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly refuse: RefuseAddress;
}): Promise<OpenCatalog> {
  const { consul, clock, log, refuse } = options;
  if (consul !== undefined) {
    const catalog = createConsulCatalog({ ...consul, clock, refuse, log: log.child({ part: "consul" }) });
    return { catalog, embedded: undefined, close: () => catalog.close() };
  }
  const file = path.join(options.dataDir, "known-instances.json");
  const embedded = createEmbeddedCatalog({ clock, known: await readKnownInstances(file) });
  const stopKeeping = keepKnownInstances(file, embedded.state, clock, (error) =>
    log.warn({ reason: String(error) }, "known instances not written"),
  );
  return {
    catalog: embedded,
    embedded,
    close: async () => {
      await stopKeeping();
      await embedded.close();
    },
  };
}
