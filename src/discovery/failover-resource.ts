import type { FailoverConfig } from "../config/failover-config.js";
import type { Fields } from "./fields.js";

/** Part of remora.v1.Cluster. */
export function encodeFailover(failover: FailoverConfig | undefined): object {
  return failover === undefined ? {} : { failover };
}

/** Throws ConfigError. */
export function decodeFailover(ours: Fields): { readonly failover?: FailoverConfig } {
  const failover = ours.optionalMessage("failover");
  if (failover === undefined) return {};
  const thresholdPercent = failover.number("thresholdPercent", 0, 100);
  return { failover: { clusters: failover.strings("clusters"), thresholdPercent } };
}
