import type { Counter, Gauge } from "./cells.js";
import type { BreakerStateName } from "./cluster-metrics.js";
import type { Metrics } from "./metrics.js";

/** The cells of one service breaker. */
export interface ServiceBreakerMetrics {
  /** 0 closed, 1 half-open, 2 open. */
  readonly state: Gauge;
  readonly transitions: Readonly<Record<BreakerStateName, Counter>>;
  readonly rejected: Counter;
  /** Slow requests. */
  readonly slowCalls: Counter;
}

const states = ["open", "half_open", "closed"] as const;

/** Values of the gauge. */
export const breakerStateValue = { closed: 0, "half-open": 1, open: 2 } as const;

/** What service breakers and measures of slowness count: only clusters that have one have series. */
export class BreakerMetrics {
  readonly #metrics: Metrics;
  /** Key: name of the cluster. */
  readonly #services = new Map<string, ServiceBreakerMetrics>();
  /** Slow attempts. Key: name of the cluster. */
  readonly #slowAttempts = new Map<string, Counter>();

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  service(cluster: string): ServiceBreakerMetrics {
    let cells = this.#services.get(cluster);
    if (cells === undefined) this.#services.set(cluster, (cells = this.#make(cluster)));
    return cells;
  }

  slowAttempts(cluster: string): Counter {
    let cell = this.#slowAttempts.get(cluster);
    if (cell === undefined) {
      cell = this.#metrics.slowCalls.cell({ cluster, breaker: "endpoint" });
      this.#slowAttempts.set(cluster, cell);
    }
    return cell;
  }

  /** Series of other clusters are no longer exposed. */
  keepOnly(clusters: ReadonlySet<string>): void {
    const { serviceBreakerState, serviceBreakerTransitions, serviceBreakerRejected, slowCalls } =
      this.#metrics;
    for (const cluster of this.#services.keys()) {
      if (clusters.has(cluster)) continue;
      this.#services.delete(cluster);
      serviceBreakerState.remove({ cluster });
      for (const to of states) serviceBreakerTransitions.remove({ cluster, to });
      serviceBreakerRejected.remove({ cluster });
      slowCalls.remove({ cluster, breaker: "service" });
    }
    for (const cluster of this.#slowAttempts.keys()) {
      if (clusters.has(cluster)) continue;
      this.#slowAttempts.delete(cluster);
      slowCalls.remove({ cluster, breaker: "endpoint" });
    }
  }

  #make(cluster: string): ServiceBreakerMetrics {
    const { serviceBreakerState, serviceBreakerTransitions, serviceBreakerRejected, slowCalls } =
      this.#metrics;
    const transition = (to: BreakerStateName): Counter => serviceBreakerTransitions.cell({ cluster, to });
    return {
      state: serviceBreakerState.cell({ cluster }),
      transitions: {
        open: transition("open"),
        half_open: transition("half_open"),
        closed: transition("closed"),
      },
      rejected: serviceBreakerRejected.cell({ cluster }),
      slowCalls: slowCalls.cell({ cluster, breaker: "service" }),
    };
  }
}
