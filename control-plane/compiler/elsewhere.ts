import type { CatalogService } from "../catalog/catalog.js";
import type { OtherDatacenters } from "../catalog/other-datacenters.js";
import type { FailoverTarget } from "../policy-store/failover-targets.js";

/** The service in another datacenter that a policy names; undefined: it names none there, or none that is known. */
export function serviceElsewhere(
  datacenters: OtherDatacenters | undefined,
  { key, datacenter }: FailoverTarget,
): CatalogService | undefined {
  return datacenter === undefined ? undefined : datacenters?.others.get(datacenter)?.services.get(key);
}
