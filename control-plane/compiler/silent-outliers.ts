import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { outliersOf } from "./compile-breaker.js";
import { condition, type Condition } from "./condition.js";
import type { MeshIndex } from "./mesh-index.js";
import { serviceKey } from "./service-name.js";

/**
 * Comparisons of success rates that can find nobody. One bad instance among n is √(n-1) standard deviations from the mean,
 * however bad it is.
 */
export function silentOutliers(index: MeshIndex, { spec, metadata }: TrafficPolicy): readonly Condition[] {
  const { outliers } = outliersOf(spec.outlierDetection?.successRate);
  if (outliers === undefined) return [];
  const { minHosts, stdevFactor } = outliers;
  const needed = Math.max(minHosts, Math.floor(stdevFactor ** 2) + 2);
  return spec.targetRefs.flatMap(({ kind, name }) => {
    const key = serviceKey(name, metadata.namespace);
    const count = kind === "Service" ? (index.services.get(key)?.instances.length ?? 0) : 0;
    if (count === 0 || count >= needed) return [];
    const message = `outlierDetection.successRate finds an outlier among ${needed} instances or more (minimumHosts ${minHosts}, stdevFactor ${stdevFactor}), and service ${key} has ${count}: nobody is ejected by it`;
    return [condition("Surprising", "True", "NeverReached", message)];
  });
}
