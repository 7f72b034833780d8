import path from "node:path";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { StoredDocument } from "../policy-store/stored-document.js";
import type { ConsulSettings } from "../settings.js";
import type { Logger } from "../telemetry/log.js";
import { watchConsulDatacenters, type ConsulDatacenters } from "./consul-datacenters.js";
import type { RefuseAddress } from "./consul-health.js";
import { keepKnownDatacenters, readKnownDatacenters } from "./known-datacenters.js";

/** Consul's other datacenters, with what was known of them before the start. @throws ConfigError as openCatalog. */
export async function openDatacenters(options: {
  readonly consul: ConsulSettings;
  readonly dataDir: string;
  readonly documents: LatestValue<readonly StoredDocument[]>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly refuse: RefuseAddress;
}): Promise<Omit<ConsulDatacenters, "close"> & { close(): Promise<void> }> {
  const { consul, documents, clock, refuse } = options;
  const log = options.log.child({ part: "datacenters" });
  const file = path.join(options.dataDir, "known-datacenters.json");
  const known = await readKnownDatacenters(file);
  const watched = watchConsulDatacenters({ agent: consul, known, documents, clock, log, refuse });
  const stopKeeping = keepKnownDatacenters(file, watched.state, clock, (error) =>
    log.warn({ reason: String(error) }, "known instances of other datacenters not written"),
  );
  return {
    ...watched,
    close: async () => {
      await stopKeeping();
      watched.close();
    },
  };
}
