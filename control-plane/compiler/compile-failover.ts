import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import { formatClusterName, parseClusterName } from "../../src/config/cluster-name.js";
import type { FailoverConfig } from "../../src/config/failover-config.js";
import { failoverTargets } from "../policy-store/failover-targets.js";
import { type MeshIndex, takesRequests } from "./mesh-index.js";

/**
 * The clusters behind a cluster. Those that speak something else than it are left out: they could not answer. The own service in
 * another datacenter stands in with the same subset. Instances in another datacenter have nobody behind them.
 */
export function compileFailover(index: MeshIndex, cluster: string): { readonly failover?: FailoverConfig } {
  const { key, subset, datacenter } = parseClusterName(cluster);
  const owner = index.policies.get(key);
  if (owner === undefined || datacenter !== undefined) return {};
  const names = failoverTargets(owner.policy, key)
    .filter((target) => takesRequests(index, target.key) === takesRequests(index, key))
    .map((target) =>
      formatClusterName({
        key: target.key,
        subset: target.key === key ? subset : undefined,
        datacenter: target.datacenter === index.datacenters?.own ? undefined : target.datacenter,
      }),
    );
  const clusters = [...new Set(names)].filter((name) => name !== cluster);
  if (clusters.length === 0) return {};
  const { failoverThreshold, loadBalancer } = owner.policy.spec;
  // Below its panic threshold a cluster would send to endpoints that are known to be bad, with others at hand.
  const thresholdPercent =
    failoverThreshold ??
    loadBalancer?.locality?.panicThreshold ??
    clusterDefaults.loadBalancer.panicThresholdPercent;
  return { failover: { clusters, thresholdPercent } };
}
