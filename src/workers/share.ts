import type { BulkheadsConfig } from "../config/bulkhead-config.js";
import type { InboundConfig, InboundRule } from "../config/inbound-config.js";
import type { LoadSheddingConfig } from "../config/load-shedding-config.js";
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
  const { maxRequests, shedding, rules } = inbound;
  return {
    ...inbound,
    maxRequests: maxRequests === 0 ? 0 : partOf(maxRequests, place),
    ...(shedding !== undefined && { shedding: sheddingShare(shedding, place) }),
    ...(rules !== undefined && { rules: rules.map((rule) => ruleShare(rule, place)) }),
  };
}

function sheddingShare(shedding: LoadSheddingConfig, place: Place): LoadSheddingConfig {
  const { adaptive } = shedding;
  if (adaptive === undefined) return shedding;
  const { minLimit, maxLimit } = adaptive;
  return {
    ...shedding,
    adaptive: { ...adaptive, minLimit: partOf(minLimit, place), maxLimit: partOf(maxLimit, place) },
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
  const { maxRequests, bulkheads, maxConnections, maxPendingRequests, serviceBreaker } = cluster;
  const { retryBudget, maxRetries } = cluster;
  return {
    ...cluster,
    maxRequests: partOf(maxRequests, place),
    ...(bulkheads !== undefined && { bulkheads: bulkheadsShare(bulkheads, place) }),
    maxConnections: partOf(maxConnections, place),
    maxPendingRequests: maxPendingRequests === 0 ? 0 : partOf(maxPendingRequests, place),
    retryBudget: { ...retryBudget, minRetriesPerSecond: retryBudget.minRetriesPerSecond / place.count },
    ...(maxRetries !== undefined && { maxRetries: partOf(maxRetries, place) }),
    ...(serviceBreaker !== undefined && {
      serviceBreaker: {
        ...serviceBreaker,
        halfOpenRequests: partOf(serviceBreaker.halfOpenRequests, place),
      },
    }),
  };
}

function bulkheadsShare(bulkheads: BulkheadsConfig, place: Place): BulkheadsConfig {
  const shares = Object.entries(bulkheads).map(([name, bulkhead]) => {
    const { maxRequests, maxPending } = bulkhead;
    return [
      name,
      {
        ...bulkhead,
        ...(maxRequests !== undefined && { maxRequests: partOf(maxRequests, place) }),
        maxPending: maxPending === 0 ? 0 : partOf(maxPending, place),
      },
    ] as const;
  });
  return Object.fromEntries(shares);
}

/** The first workers take what cannot be divided. */
function partOf(whole: number, { worker, count }: Place): number {
  return Math.max(1, Math.floor(whole / count) + (worker <= whole % count ? 1 : 0));
}
