import { forget } from "../balance/peak-ewma.js";
import type { HealthCheckConfig } from "../config/health-check-config.js";
import type { ClusterConfig, EndpointConfig } from "../config/snapshot.js";
import { CheckSlots } from "../policy/check-slots.js";
import { HealthChecker } from "../policy/health-checker.js";
import type { ClusterEndpoint } from "../policy/cluster-endpoint.js";
import type { ClusterMetrics } from "../telemetry/cluster-metrics.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";

/** The cluster whose endpoints are checked, as it is at the time. */
export interface CheckedCluster {
  readonly config: ClusterConfig;
  readonly endpoints: readonly ClusterEndpoint[];
}

export interface ClusterHealthOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly metrics: () => ClusterMetrics;
  /** Bounds the health checks of all clusters together. Absent: those of this one alone. */
  readonly checkSlots?: CheckSlots;
  /** No request ever comes here: nobody has a use for what checks find. */
  readonly callsNobody?: boolean;
  /** An endpoint became healthy or, for this reason, unhealthy by its health checks. */
  readonly onHealth?: (cluster: string, endpoint: EndpointConfig, isHealthy: boolean, reason: string) => void;
}

/** The health checks of one cluster, if its policy has any. Begun anew only when they themselves change. */
export class ClusterHealth {
  readonly #cluster: CheckedCluster;
  readonly #options: ClusterHealthOptions;
  #checks: readonly HealthCheckConfig[] | undefined;
  #checker: HealthChecker<ClusterEndpoint> | undefined;

  constructor(cluster: CheckedCluster, options: ClusterHealthOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** After each change of the cluster's configuration or endpoints. */
  sync(): void {
    const { config, endpoints } = this.#cluster;
    const healthChecks = this.#options.callsNobody === true ? undefined : config.healthChecks;
    if (JSON.stringify(healthChecks) !== JSON.stringify(this.#checks)) {
      this.close();
      this.#checks = healthChecks;
      if (healthChecks !== undefined) this.#checker = this.#start(healthChecks);
      // Nobody asks any more: nobody may be kept out for what was found.
      else for (const endpoint of endpoints) endpoint.health.set(true, "");
    }
    this.#checker?.sync(endpoints);
  }

  close(): void {
    this.#checker?.close();
    this.#checker = undefined;
    this.#checks = undefined;
  }

  #start(checks: readonly HealthCheckConfig[]): HealthChecker<ClusterEndpoint> {
    const { clock, wheel, metrics, onHealth, checkSlots = new CheckSlots() } = this.#options;
    const { name } = this.#cluster.config;
    return new HealthChecker<ClusterEndpoint>({
      ...{ checks, clock, wheel, slots: checkSlots, meters: metrics().healthChecks() },
      onChange: (endpoint, isHealthy, reason) => {
        if (isHealthy) {
          // What it was like before it failed must not keep it idle, nor may all of its share come at once.
          forget(endpoint);
          endpoint.warmingSinceMs = clock.monotonicMs();
        }
        onHealth?.(name, endpoint.config, isHealthy, reason);
      },
    });
  }
}
