import type { BreakerConfig } from "./breaker-config.js";
import type { FailoverConfig } from "./failover-config.js";
import type { BulkheadsConfig } from "./bulkhead-config.js";
import type { FaultConfig } from "./fault-config.js";
import type { HedgeConfig } from "./hedge-config.js";
import type { MirrorConfig } from "./mirror-config.js";
import type { HealthCheckConfig } from "./health-check-config.js";
import type { InboundConfig } from "./inbound-config.js";
import type { LocalityConfig } from "./locality-config.js";
import type { FallbackConfig } from "./fallback-config.js";
import type { LoadBalancerConfig } from "./load-balancer-config.js";
import type { PriorityConfig } from "./priority-config.js";
import type { RetryBudgetConfig } from "./retry-budget-config.js";
import type { RetryConfig } from "./retry-config.js";
import type { MtlsMode, Protocol } from "./protocol.js";
import type { RouteMatch } from "./route-match.js";
import type { ServiceBreakerConfig } from "./service-breaker-config.js";

export type { MtlsMode, Protocol } from "./protocol.js";
export type { PathMatch, RouteMatch, ValueMatch } from "./route-match.js";

/**
 * The dynamic configuration of one sidecar: immutable, complete, versioned by content. The control plane compiles it,
 * discovery/ carries it as xDS resources, and the data path is built from it. Plain data, all durations in milliseconds.
 */
export interface Snapshot {
  /** Hash of the content: equal content, equal version. */
  readonly version: string;
  readonly inbound: InboundConfig;
  /** One per reachable service. */
  readonly virtualHosts: readonly VirtualHost[];
  /** Exactly those that a route of `virtualHosts` refers to, and those behind them (failover). */
  readonly clusters: readonly ClusterConfig[];
  /** By cluster name; a cluster without an entry has no endpoint. */
  readonly endpoints: ReadonlyMap<string, readonly EndpointConfig[]>;
}

export interface VirtualHost {
  /** `<service>.<namespace>`: the name that local ports of `--upstream` refer to. */
  readonly name: string;
  /** Hosts served on the outbound port, lower case without port: exact, or `*.suffix`. No two hosts share a domain. */
  readonly domains: readonly string[];
  /** In order of precedence: the first match wins. Ends with a catch-all unless an HTTPRoute took its place. */
  readonly routes: readonly RouteConfig[];
}

export interface RouteConfig {
  /** Unique in its virtual host and stable over pushes, for example `httproute/default/reviews/canary/0`. */
  readonly name: string;
  /** The document it came from, for error texts: `HTTPRoute/default/reviews`, or `default`. */
  readonly source: string;
  /**
   * Empty: every host. Else the request's host must be one of these (exact or `*.suffix`), on the outbound port only;
   * on a local port of `--upstream` the port has chosen the service already.
   */
  readonly hostnames: readonly string[];
  readonly match: RouteMatch;
  readonly action: RouteAction;
  readonly requestHeaders?: HeaderModifier;
  readonly responseHeaders?: HeaderModifier;
  /** Caps the whole request, retries included, from head received to response complete. Absent: none. */
  readonly timeoutMs?: number;
  /** Caps each attempt until its response is complete. Absent: none. */
  readonly attemptTimeoutMs?: number;
  /** Longest silence in both directions while a request is under way. 0 = none. Absent: the server connection's default. */
  readonly streamIdleMs?: number;
  /** The documents that set these limits, where it is another than `source`. */
  readonly limitSources?: LimitSources;
  /** Absent: the built-in default (one retry of provably unprocessed requests). */
  readonly retry?: RetryConfig;
  /** Absent: failures are told to the caller as they are. */
  readonly fallback?: FallbackConfig;
  /** Absent: all requests are of the class default, and nobody is told. */
  readonly priority?: PriorityConfig;
  /** Absent: nothing fails on purpose. */
  readonly fault?: FaultConfig;
}

/** For error texts. */
export interface LimitSources {
  readonly request?: string;
  readonly attempt?: string;
  readonly streamIdle?: string;
}

export type RouteAction =
  | {
      readonly type: "forward";
      readonly backends: readonly WeightedCluster[];
      readonly rewrite?: UrlRewrite;
      /** Who gets copies of the requests; at least one. */
      readonly mirrors?: readonly MirrorConfig[];
    }
  | { readonly type: "redirect"; readonly redirect: RedirectConfig };

export interface WeightedCluster {
  /** Name of a cluster; "" when the document names a service that does not exist (answered with no_backend). */
  readonly cluster: string;
  /** >= 0; the share is weight / sum. */
  readonly weight: number;
  readonly requestHeaders?: HeaderModifier;
  readonly responseHeaders?: HeaderModifier;
}

export interface UrlRewrite {
  readonly hostname?: string;
  readonly path?: PathRewrite;
}

export interface PathRewrite {
  readonly type: "full" | "prefix";
  readonly value: string;
}

export interface RedirectConfig {
  readonly scheme?: "http" | "https";
  readonly hostname?: string;
  readonly port?: number;
  readonly path?: PathRewrite;
  readonly status: 301 | 302 | 303 | 307 | 308;
}

/** Applied in the order set, add, remove (Gateway API HTTPHeaderFilter). */
export interface HeaderModifier {
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly add: readonly (readonly [name: string, value: string])[];
  /** Lower case. */
  readonly remove: readonly string[];
}

export interface ClusterConfig {
  /** `<service>.<namespace>`, and for a part of its instances or those of another datacenter as formatClusterName has it. */
  readonly name: string;
  readonly service: string;
  readonly namespace: string;
  /** The part of the service's instances that it stands for, for error texts: `subset v1 (version=v1)`. Absent: all of them. */
  readonly subset?: string;
  /** The Consul datacenter that its instances are in. Absent: the control plane's own. */
  readonly datacenter?: string;
  /** SPIFFE ids, one of which the endpoint must prove: exact compare. */
  readonly identities: readonly string[];
  readonly protocol: Protocol;
  /** STRICT: endpoints without a sidecar are never used. PERMISSIVE: they are reached in plaintext. DISABLE: all plaintext. */
  readonly mtlsMode: MtlsMode;
  readonly loadBalancer: LoadBalancerConfig;
  /** Own zone first. Absent: zones do not matter. */
  readonly locality?: LocalityConfig;
  /** Absent: nobody else can do its work. */
  readonly failover?: FailoverConfig;
  /** Absent: a request has one attempt at a time. */
  readonly hedge?: HedgeConfig;
  /** An endpoint is healthy when it passes all of them. Absent: there are none. */
  readonly healthChecks?: readonly HealthCheckConfig[];
  readonly connectTimeoutMs: number;
  /** Requests under way at once, all endpoints together. */
  readonly maxRequests: number;
  /** What each class of requests has of `maxRequests`. Absent: all share them, and nobody waits. */
  readonly bulkheads?: BulkheadsConfig;
  /** Connections per endpoint. */
  readonly maxConnections: number;
  /** Requests that wait for a connection, per endpoint. */
  readonly maxPendingRequests: number;
  /** Streams under way on one HTTP/2 connection: the caller opens another connection beyond it. The peer may allow fewer. */
  readonly maxConcurrentStreams: number;
  /** Requests that one HTTP connection carries in its life. Absent: no limit. */
  readonly maxRequestsPerConnection?: number;
  /** Idle kept-alive connections are closed after this. Must be below the server's own (Node: 5 s). */
  readonly poolIdleMs: number;
  /** Longest silence in both directions of a TCP connection or an upgraded one (WebSocket). 0 = no limit. */
  readonly tunnelIdleMs: number;
  readonly breaker: BreakerConfig;
  /** Absent: the service has none. */
  readonly serviceBreaker?: ServiceBreakerConfig;
  readonly retryBudget: RetryBudgetConfig;
  /** Retries under way at once, all endpoints together, beside the budget. Absent: no limit of its own. */
  readonly maxRetries?: number;
  /** The document that set these, for error texts: `TrafficPolicy/default/api`, or `default`. */
  readonly source: string;
}

export interface EndpointConfig {
  /** IP literal. */
  readonly address: string;
  /** Inbound mTLS port of the sidecar, or the application's own port when `meshed` is false. */
  readonly port: number;
  /** Has a sidecar: reached over mTLS. */
  readonly meshed: boolean;
  /** >= 1. */
  readonly weight: number;
  readonly zone: string;
  /** Id of the instance in its registry. */
  readonly instance: string;
  readonly meta: Readonly<Record<string, string>>;
  /** In the registry, but failing there: gets nothing, and counts as what its zone lacks. Only where somebody counts. */
  readonly isDown?: true;
}
