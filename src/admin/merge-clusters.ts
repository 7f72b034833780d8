import type { BreakerView, ClusterView, EndpointView } from "./admin-view.js";

/** What is no number of requests: several workers' values do not add up. */
const worstOf: ReadonlySet<string> = new Set(["ejected_for_ms", "latency_ms"]);

/** Several workers' views of the same clusters as one: requests add up, of an endpoint's states the worst one is shown. */
export function mergeClusters(views: readonly (readonly ClusterView[])[]): ClusterView[] {
  const merged = new Map<string, ClusterView>();
  for (const view of views.flat()) {
    const known = merged.get(view.name);
    merged.set(view.name, known === undefined ? view : mergeTwo(known, view));
  }
  return [...merged.values()];
}

function mergeTwo(one: ClusterView, other: ClusterView): ClusterView {
  const endpoints = new Map(one.endpoints.map((endpoint) => [keyOf(endpoint), endpoint]));
  for (const endpoint of other.endpoints) {
    const known = endpoints.get(keyOf(endpoint));
    endpoints.set(keyOf(endpoint), known === undefined ? endpoint : mergeEndpoints(known, endpoint));
  }
  const breaker = mergeBreakers(one.breaker, other.breaker);
  return {
    ...one,
    ...(breaker !== undefined && { breaker, settings: { ...one.settings, breaker: breaker.state } }),
    endpoints: [...endpoints.values()],
  };
}

function mergeEndpoints(one: EndpointView, other: EndpointView): EndpointView {
  const breaker = mergeBreakers(one.breaker, other.breaker);
  const isOneWorse = one.healthFlags !== "healthy" && (!one.isHealthy || other.isHealthy);
  const stats = { ...one.stats };
  for (const [name, value] of Object.entries(other.stats)) {
    const before = stats[name] ?? 0;
    stats[name] = worstOf.has(name) ? Math.max(before, value) : before + value;
  }
  return {
    ...one,
    isHealthy: one.isHealthy && other.isHealthy,
    healthFlags: isOneWorse ? one.healthFlags : other.healthFlags,
    stats,
    ...(breaker !== undefined && { breaker }),
  };
}

const badness = ["closed", "half-open", "open", "isolated"] as const satisfies BreakerView["state"][];

/** The worse state with its reason and times; what they have counted adds up. */
function mergeBreakers(
  one: BreakerView | undefined,
  other: BreakerView | undefined,
): BreakerView | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const worse = badness.indexOf(other.state) > badness.indexOf(one.state) ? other : one;
  return {
    ...worse,
    requests: one.requests + other.requests,
    failures: one.failures + other.failures,
    slow: one.slow + other.slow,
    openings: Math.max(one.openings, other.openings),
    share: (one.share + other.share) / 2,
  };
}

function keyOf({ address, port }: EndpointView): string {
  return `${address} ${port}`;
}
