import type { ClusterConfig, EndpointConfig, Snapshot } from "../config/snapshot.js";
import { RouteTable } from "../route/route-table.js";
import { DeferredService } from "../stack/deferred.js";
import type { BreakerAnswer, BreakerCommand } from "../policy/breaker-command.js";
import type { Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { Metrics } from "../telemetry/metrics.js";
import { PolicyMetrics } from "../telemetry/policy-metrics.js";
import { Cluster, type ClusterOptions } from "./cluster.js";
import { PolicyStates } from "./policy-states.js";
import { routeStack } from "./route-stack.js";
import { tunnelStack } from "./tunnel-stack.js";

export interface DataPlaneOptions {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  /** What a cluster needs besides its configuration. */
  readonly cluster: (config: ClusterConfig) => ClusterOptions;
  /** What policies of routes do is counted here; absent: nowhere. */
  readonly policyMetrics?: PolicyMetrics;
  /** A fault that a policy injected has come to its end. */
  readonly onFaultExpired?: (policy: string) => void;
}

const noEndpoints: readonly EndpointConfig[] = [];

/**
 * A snapshot at work: clusters and the table of composed routes. A newer snapshot takes over as a whole, between two
 * requests; requests under way keep the stack they began with.
 */
export class DataPlane {
  readonly #options: DataPlaneOptions;
  /** Key: cluster name. */
  readonly #clusters = new Map<string, Cluster>();
  readonly #policies: PolicyStates;
  #table: RouteTable<Service> | undefined;
  /** Ways into the clusters of raw TCP. Key: cluster name. */
  #tunnels: ReadonlyMap<string, Service> = new Map();
  #snapshot: Snapshot | undefined;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.#policies = new PolicyStates(
      options.policyMetrics ?? new PolicyMetrics(new Metrics()),
      options.onFaultExpired,
    );
  }

  /** undefined until the first snapshot. */
  get table(): RouteTable<Service> | undefined {
    return this.#table;
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /**
   * The way to a service that speaks raw TCP: routes are for HTTP and do not apply. undefined: it speaks something else, or
   * is not known.
   */
  tunnelTo(service: string): Service | undefined {
    return this.#tunnels.get(service);
  }

  clusters(): Iterable<Cluster> {
    return this.#clusters.values();
  }

  /** Throws ConfigError, with everything as it was, when the snapshot cannot be carried out. */
  apply(snapshot: Snapshot): void {
    if (this.#snapshot?.version === snapshot.version) return;
    const changed = new Set(
      snapshot.clusters.filter((config) => !same(this.#clusters.get(config.name)?.config, config)),
    );
    const isSameRouting =
      changed.size === 0 &&
      this.#clusters.size === snapshot.clusters.length &&
      same(this.#snapshot?.virtualHosts, snapshot.virtualHosts);
    if (!isSameRouting) checkSnapshot(snapshot, this.#options);
    // From here on nothing throws: clusters first, then the routes that lead to them (make before break).
    const gone = new Map(this.#clusters);
    for (const config of snapshot.clusters) {
      gone.delete(config.name);
      this.#applyCluster(config, changed.has(config), snapshot.endpoints.get(config.name) ?? noEndpoints);
    }
    if (!isSameRouting) {
      this.#table = this.#buildTable(snapshot);
      this.#tunnels = this.#buildTunnels();
    }
    this.#snapshot = snapshot;
    for (const [name, cluster] of gone) {
      this.#clusters.delete(name);
      cluster.retire();
    }
  }

  /** An operator's word to the breakers of a cluster; undefined: there is no such cluster. */
  driveBreakers(name: string, command: BreakerCommand): BreakerAnswer | undefined {
    const cluster = this.#clusters.get(name);
    if (cluster === undefined || this.#snapshot === undefined) return undefined;
    const { answer, isGuardNew } = cluster.drive(command);
    if (isGuardNew) {
      this.#table = this.#buildTable(this.#snapshot);
      this.#tunnels = this.#buildTunnels();
    }
    return answer;
  }

  close(): void {
    for (const cluster of this.#clusters.values()) cluster.close();
    this.#clusters.clear();
  }

  #applyCluster(config: ClusterConfig, isChanged: boolean, endpoints: readonly EndpointConfig[]): void {
    const cluster = this.#clusters.get(config.name);
    if (cluster === undefined) {
      this.#clusters.set(config.name, new Cluster(config, endpoints, this.#options.cluster(config)));
    } else if (isChanged) {
      cluster.update(config, endpoints);
    } else {
      cluster.updateEndpoints(endpoints);
    }
  }

  #buildTable(snapshot: Snapshot): RouteTable<Service> {
    const { clock, wheel } = this.#options;
    const cluster = (name: string): Cluster | undefined => this.#clusters.get(name);
    const policies = this.#policies;
    policies.keepOnly(snapshot.virtualHosts.flatMap(({ routes }) => routes));
    // checkSnapshot has shown that it can be composed.
    return RouteTable.build(
      snapshot.virtualHosts,
      ({ name }, route) =>
        new DeferredService(() => routeStack(route, { clock, wheel, cluster, policies, scope: name })),
    );
  }

  #buildTunnels(): ReadonlyMap<string, Service> {
    const { clock, wheel } = this.#options;
    const tunnels = new Map<string, Service>();
    for (const [name, cluster] of this.#clusters) {
      if (cluster.config.protocol === "tcp")
        tunnels.set(
          name,
          new DeferredService(() =>
            tunnelStack(cluster, { clock, wheel, cluster: (other) => this.#clusters.get(other) }),
          ),
        );
    }
    return tunnels;
  }
}

/**
 * Throws ConfigError when a snapshot cannot be carried out: every route is composed once without its clusters, so all that
 * can be wrong with one shows before anything is touched.
 */
export function checkSnapshot(
  snapshot: Snapshot,
  { clock, wheel }: Pick<DataPlaneOptions, "clock" | "wheel">,
): void {
  // States of their own: those in use must not change before the snapshot is known to be sound.
  const policies = new PolicyStates(new PolicyMetrics(new Metrics()));
  RouteTable.build(snapshot.virtualHosts, (host, route) =>
    routeStack(route, { clock, wheel, cluster: () => undefined, policies, scope: host.name }),
  );
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
