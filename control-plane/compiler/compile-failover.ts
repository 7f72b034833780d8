import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { FailoverConfig } from "../../src/config/failover-config.js";
import { type MeshIndex, takesRequests } from "./mesh-index.js";
import { serviceKey, splitServiceKey } from "./service-name.js";

/** The clusters behind that of a service. Those that speak something else than it are left out: they could not answer. */
export function compileFailover(index: MeshIndex, key: string): { readonly failover?: FailoverConfig } {
  const clusters = failoverKeys(index, key).filter(
    (other) => takesRequests(index, other) === takesRequests(index, key),
  );
  if (clusters.length === 0) return {};
  const spec = index.policies.get(key)?.policy.spec;
  // Below its panic threshold a cluster would send to endpoints that are known to be bad, with others at hand.
  const thresholdPercent =
    spec?.failoverThreshold ??
    spec?.loadBalancer?.locality?.panicThreshold ??
    clusterDefaults.loadBalancer.panicThresholdPercent;
  return { failover: { clusters, thresholdPercent } };
}

/** The services that a service's policy names for its failover, in their order. */
export function failoverKeys(index: MeshIndex, key: string): readonly string[] {
  const { namespace } = splitServiceKey(key, "default");
  return (index.policies.get(key)?.policy.spec.failover ?? []).map((target) =>
    serviceKey(target.service, target.namespace ?? namespace),
  );
}
