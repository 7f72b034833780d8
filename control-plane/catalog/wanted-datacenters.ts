import { failoverTargets, targetedServices } from "../policy-store/failover-targets.js";
import type { StoredDocument } from "../policy-store/stored-document.js";

/** Consul's only namespace, but for the Enterprise edition. */
const suffix = ".default";

/** Which services policies want of other datacenters. Key: datacenter; names as Consul has them. */
export function wantedDatacenters(
  documents: readonly StoredDocument[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const wanted = new Map<string, Set<string>>();
  for (const { document } of documents) {
    if (document.kind !== "TrafficPolicy") continue;
    for (const { key, datacenter } of targetedServices(document).flatMap((own) =>
      failoverTargets(document, own),
    )) {
      if (datacenter === undefined) continue;
      const names = wanted.get(datacenter) ?? new Set();
      if (key.endsWith(suffix)) names.add(key.slice(0, -suffix.length));
      wanted.set(datacenter, names);
    }
  }
  return wanted;
}
