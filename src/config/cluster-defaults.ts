import type { HealthCheckConfig } from "./health-check-config.js";
import type { LocalityConfig } from "./locality-config.js";
import type { FallbackCause, ReplyCacheConfig } from "./fallback-config.js";
import type { OutliersConfig } from "./outliers-config.js";
import type { RetryConfig } from "./retry-config.js";
import type { ServiceBreakerConfig } from "./service-breaker-config.js";
import type { ClusterConfig } from "./snapshot.js";

/** What a cluster has unless a TrafficPolicy says otherwise. Each value's reason stands beside it. */
export const clusterDefaults = {
  loadBalancer: { policy: "peak_ewma", panicThresholdPercent: 50 }, // Envoy healthy_panic_threshold
  connectTimeoutMs: 1000, // linkerd2-proxy, outbound
  maxRequests: 1024, // Envoy circuit breaker thresholds
  maxConnections: 1024,
  maxPendingRequests: 1024,
  maxConcurrentStreams: 100, // RFC 9113 §6.5.2: "no smaller than 100"; what Go, Node and nginx servers allow at least
  poolIdleMs: 3000, // below the 5 s keep-alive of Node servers; linkerd2-proxy
  tunnelIdleMs: 3_600_000, // Envoy tcp_proxy idle_timeout
  breaker: {
    consecutiveFailures: 7, // linkerd failure accrual
    consecutiveGatewayErrors: 0, // all failures count the same
    consecutiveLocalOriginFailures: 0,
    minSuccessRatio: 0.8,
    windowMs: 10_000,
    minRequests: 5,
    baseEjectionMs: 1000,
    maxEjectionMs: 60_000,
    jitterRatio: 0.5,
    maxEjectionPercent: 50,
  },
  retryBudget: { percent: 20, minRetriesPerSecond: 10, windowMs: 10_000 }, // finagle, linkerd
} as const satisfies Partial<ClusterConfig>;

/** What an entry of `healthChecks` has where it is silent. */
export const healthCheckDefaults = {
  intervalMs: 10_000, // Consul's own checks
  timeoutMs: 1000, // a health page that is slower is not well
  unhealthyThreshold: 3, // HAProxy fall 3
  healthyThreshold: 2, // HAProxy rise 2
  initial: "healthy", // its registry says so; a rollout must not wait for the slowest caller
  statuses: [200], // Envoy
} as const satisfies Partial<HealthCheckConfig> & { readonly statuses: readonly number[] };

/** What `locality: {preferLocal: true}` has where it is silent. */
export const localityDefaults: LocalityConfig = {
  spilloverPercent: 70, // Envoy: overprovisioning factor 1.4, so 71.4
};

/** How waits between attempts grow unless a document says otherwise. */
export const backoffDefaults = {
  factor: 2, // Envoy RetryBackOff doubles, with full jitter
  jitter: "full",
  maxRetryAfterMs: 300_000, // Envoy RateLimitedRetryBackOff
} as const;

/** What `slowCalls` of either breaker has where its document is silent. */
export const slowCallsDefaults = { ratio: 0.5 } as const;

/** What `successRate.minimumHosts` and `stdevFactor` have where one of them is given; without both nothing is compared. */
export const outliersDefaults = {
  minHosts: 5, // Envoy success_rate_minimum_hosts
  minRequests: 100, // Envoy success_rate_request_volume
  stdevFactor: 1.9, // Envoy success_rate_stdev_factor
} as const satisfies OutliersConfig;

/** What a service breaker has where its document is silent. Without `circuitBreaker` there is none. */
export const serviceBreakerDefaults = {
  failureRatio: 0.5, // Hystrix and Resilience4j: half of the requests
  minRequests: 20, // Hystrix requestVolumeThreshold
  windowMs: 10_000, // as the endpoint breaker; Hystrix rolling statistics
  openMs: 5000, // Hystrix sleepWindow
  maxOpenMs: 60_000, // as the endpoint breaker
  jitterRatio: 0.2, // callers that opened together must not probe together
  halfOpenRequests: 5,
  rampMs: 10_000, // a window: what comes back is judged before it has everything
} as const satisfies ServiceBreakerConfig;

/** What a route's retry has where its document is silent. */
export const retryDefaults: RetryConfig = {
  attempts: 1,
  codes: [502, 503, 504],
  grpcCodes: [14], // UNAVAILABLE: "most likely transient, retry with a backoff"
  // RFC 9110 §9.2.2: idempotent methods.
  methods: ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"],
  baseBackoffMs: 25, // Envoy RetryBackOff
  maxBackoffMs: 250,
  maxReplayBytes: 64 * 1024, // linkerd2-proxy ReplayBody
};

/** Which failures a fallback answers where its document is silent: not what the caller itself brought about. */
export const defaultFallbackCauses: readonly FallbackCause[] = [
  "open",
  "timeout",
  "5xx",
  "connect-failure",
  "no-endpoint",
];

/** What a fallback keeps of good answers where its document is silent. */
export const replyCacheDefaults: ReplyCacheConfig = {
  maxAgeMs: 300_000, // most outages that a fallback bridges are over by then
  maxEntries: 1000,
  maxBytes: 10 * 1024 * 1024, // a third of what a sidecar takes by itself
};

/** What `hedge` has where its document is silent. */
export const hedgeDefaults = {
  minDelayMs: 10, // a tick of the timer wheel
  maxAttempts: 1,
  budgetPercent: 10, // with a percentile of 95 half of it is needed
};
