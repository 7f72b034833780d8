import type { InboundConfig, InboundRule } from "../config/inbound-config.js";
import type { ClusterConfig, Snapshot } from "../config/snapshot.js";

/** Which of how many workers: 1 .. count. */
export interface Place {
  readonly worker: number;
  readonly count: number;
}

/**
 * A worker's part of a snapshot. What limits the service as a whole is divided, so that all workers together keep to it;
 * each has at least 1 of everything. What judges an endpoint (breakers) is the same in each.
 */
export function shareOf(snapshot: Snapshot, place: Place): Snapshot {
  const { inbound, clusters } = snapshot;
  return {
    ...snapshot,
    // 0 = no limit.
    inbound: inboundShare(inbound, place),
    clusters: clusters.map((cluster) => clusterShare(cluster, place)),
  };
}

function inboundShare(inbound: InboundConfig, place: Place): InboundConfig {
  const { maxRequests, rules } = inbound;
  return {
    ...inbound,
    maxRequests: maxRequests === 0 ? 0 : partOf(maxRequests, place),
    ...(rules !== undefined && { rules: rules.map((rule) => ruleShare(rule, place)) }),
  };
}

function ruleShare(rule: InboundRule, place: Place): InboundRule {
  const { rateLimits } = rule;
  return {
    ...rule,
    ...(rateLimits !== undefined && {
      rateLimits: rateLimits.map((limit) => ({ ...limit, processes: place.count })),
    }),
  };
}

function clusterShare(cluster: ClusterConfig, place: Place): ClusterConfig {
  const { maxRequests, maxConnections, maxPendingRequests, retryBudget } = cluster;
  return {
    ...cluster,
    maxRequests: partOf(maxRequests, place),
    maxConnections: partOf(maxConnections, place),
    maxPendingRequests: maxPendingRequests === 0 ? 0 : partOf(maxPendingRequests, place),
    retryBudget: { ...retryBudget, minRetriesPerSecond: retryBudget.minRetriesPerSecond / place.count },
  };
}

/** The first workers take what cannot be divided. */
function partOf(whole: number, { worker, count }: Place): number {
  return Math.max(1, Math.floor(whole / count) + (worker <= whole % count ? 1 : 0));
}
