import { failover, type FailoverMember } from "../policy/failover.js";
import type { Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { Cluster } from "./cluster.js";

/** Where the clusters behind a cluster are found. */
export interface AttemptOptions {
  readonly clock: Clock;
  /** undefined: no such cluster. */
  readonly cluster: (name: string) => Cluster | undefined;
}

/** One attempt at a cluster, or at one of those behind it. What is not configured costs nothing. */
export function attemptAt(cluster: Cluster, options: AttemptOptions): Service {
  const { failover: config } = cluster.config;
  if (config === undefined) return cluster.service;
  const others = config.clusters.map(options.cluster).filter((other) => other !== undefined);
  const { thresholdPercent } = config;
  const meter = (to: string) => cluster.metrics.failovers(to);
  const members = { primary: memberOf(cluster), others: others.map(memberOf) };
  return failover({ ...members, thresholdPercent, meter, clock: options.clock });
}

function memberOf(cluster: Cluster): FailoverMember {
  return {
    name: cluster.config.name,
    // A cluster behind another may change without a new route to this one.
    get service() {
      return cluster.service;
    },
    hasUsable: (tried, nowMs) => cluster.hasUsable(tried, nowMs),
    usablePercent: (nowMs) => cluster.usablePercent(nowMs),
  };
}
