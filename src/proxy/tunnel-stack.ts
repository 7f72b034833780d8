import { retry } from "../policy/retry.js";
import { stack, type Service } from "../stack/service.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import type { Cluster } from "./cluster.js";
import { attemptAt, type AttemptOptions } from "./cluster-failover.js";
import { inCluster } from "./route-stack.js";

/** The way into a cluster of raw TCP: what a route does for HTTP, without what only HTTP has. */
export function tunnelStack(
  cluster: Cluster,
  options: AttemptOptions & { readonly wheel: TimerWheel },
): Service {
  const { clock, wheel } = options;
  const { config, budget, meters } = cluster;
  return stack(
    [
      inCluster(config.name),
      // As for HTTP; what counts is whether a connection comes about.
      ...(cluster.guard === undefined ? [] : [cluster.guard]),
      // Another endpoint when a connection does not come about: no byte of the client was sent by then.
      retry({ config: undefined, budget, wheel, clock, meters }),
    ],
    attemptAt(cluster, options),
  );
}
