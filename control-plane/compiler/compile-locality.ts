import { localityDefaults } from "../../src/config/cluster-defaults.js";
import type { LoadBalancerSpec } from "../../src/config/documents/load-balancer.js";
import type { LocalityConfig } from "../../src/config/locality-config.js";

/** Own zone first, when the policy asks for it. */
export function compileLocality(spec: LoadBalancerSpec | undefined): { readonly locality?: LocalityConfig } {
  const { preferLocal, spillover } = spec?.locality ?? {};
  if (preferLocal !== true) return {};
  return { locality: { spilloverPercent: spillover ?? localityDefaults.spilloverPercent } };
}
