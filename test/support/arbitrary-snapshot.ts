import fc from "fast-check";
import {
  attributes,
  textMatchTypes,
  type AttributeMatch,
  type AuthorizationConfig,
} from "../../src/config/authorization-config.js";
import type { InboundRule } from "../../src/config/inbound-config.js";
import type { IdempotencyConfig } from "../../src/config/idempotency-config.js";
import type { RateLimitConfig } from "../../src/config/rate-limit-config.js";
import { fallbackCauses, type FallbackConfig } from "../../src/config/fallback-config.js";
import type { HashPolicy, LoadBalancerConfig } from "../../src/config/load-balancer-config.js";
import type { BulkheadsConfig } from "../../src/config/bulkhead-config.js";
import type { LoadSheddingConfig } from "../../src/config/load-shedding-config.js";
import type { PriorityConfig } from "../../src/config/priority-config.js";
import type { FaultConfig } from "../../src/config/fault-config.js";
import type { HedgeConfig } from "../../src/config/hedge-config.js";
import type { BreakerConfig } from "../../src/config/breaker-config.js";
import type { HealthCheckConfig } from "../../src/config/health-check-config.js";
import type { RetryConfig } from "../../src/config/retry-config.js";
import type {
  ClusterConfig,
  EndpointConfig,
  HeaderModifier,
  PathMatch,
  RouteAction,
  RouteConfig,
  RouteMatch,
  Snapshot,
  ValueMatch,
  VirtualHost,
} from "../../src/config/snapshot.js";

const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
/** Anything that protobuf can carry: no lone surrogates. */
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
const ms = fc.integer({ min: 1, max: 10_000_000 });
const count = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const percent = fc.integer({ min: 0, max: 100 });
const ratio = fc.double({ min: 0, max: 1, noNaN: true }).map((value) => value + 0);
const mtlsMode = fc.constantFrom("STRICT" as const, "PERMISSIVE" as const, "DISABLE" as const);

const protocol = fc.constantFrom("http" as const, "http2" as const, "grpc" as const, "tcp" as const);

const pairs = fc.array(fc.tuple(name, text), { maxLength: 2 });
const modifier: fc.Arbitrary<HeaderModifier> = fc
  .record({ set: pairs, add: pairs, remove: fc.array(name, { maxLength: 2 }) })
  .filter(({ set, add, remove }) => set.length + add.length + remove.length > 0);

const path: fc.Arbitrary<PathMatch> = fc.record({
  type: fc.constantFrom("exact" as const, "prefix" as const, "regex" as const),
  value: text.map((value) => `/${value}`),
});
const valueMatch: fc.Arbitrary<ValueMatch> = fc.record({
  name,
  type: fc.constantFrom("exact" as const, "regex" as const),
  value: text,
});
const match: fc.Arbitrary<RouteMatch> = fc.record(
  {
    path,
    method: fc.constantFrom("GET", "POST"),
    headers: fc.array(valueMatch, { maxLength: 2 }),
    query: fc.array(valueMatch, { maxLength: 2 }),
    isGrpc: fc.constant(true as const),
  },
  { requiredKeys: ["path", "headers", "query"] },
);
const pathRewrite = fc.record({ type: fc.constantFrom("full" as const, "prefix" as const), value: text });

/** `clusters` are the names that may be referred to. */
function action(clusters: readonly string[]): fc.Arbitrary<RouteAction> {
  const backend = fc.record(
    {
      cluster: fc.constantFrom("", ...clusters),
      weight: fc.oneof(fc.constant(1), fc.integer({ min: 0, max: 1_000_000 })),
      requestHeaders: modifier,
      responseHeaders: modifier,
    },
    { requiredKeys: ["cluster", "weight"] },
  );
  const rewrite = fc.oneof(
    fc.record({ hostname: name }),
    fc.record({ path: pathRewrite }),
    fc.record({ hostname: name, path: pathRewrite }),
  );
  const mirror = fc.record({
    cluster: fc.constantFrom(...clusters),
    perMillion: fc.integer({ min: 0, max: 1_000_000 }),
  });
  const mirrors = fc.array(mirror, { minLength: 1, maxLength: 2 });
  const plain = {
    type: fc.constant("forward" as const),
    backends: fc.array(backend, { maxLength: 3 }),
    rewrite,
  };
  const forward = fc.record(
    { ...plain, mirrors },
    {
      requiredKeys: ["type", "backends"],
    },
  );
  const redirect = fc.record(
    {
      scheme: fc.constantFrom("http" as const, "https" as const),
      hostname: name,
      port: fc.integer({ min: 1, max: 65_535 }),
      path: pathRewrite,
      status: fc.constantFrom(301 as const, 302 as const, 303 as const, 307 as const, 308 as const),
    },
    { requiredKeys: ["status"] },
  );
  return fc.oneof(forward, fc.record({ type: fc.constant("redirect" as const), redirect }));
}

const retry: fc.Arbitrary<RetryConfig> = fc.record(
  {
    attempts: fc.integer({ min: 1, max: 10 }),
    codes: fc.uniqueArray(fc.integer({ min: 400, max: 599 }), { maxLength: 4 }),
    methods: fc.uniqueArray(fc.constantFrom("GET", "PUT", "POST", "PATCH"), { maxLength: 3 }),
    baseBackoffMs: fc.integer({ min: 0, max: 1000 }),
    maxBackoffMs: fc.integer({ min: 1000, max: 100_000 }),
    grpcCodes: fc.subarray([1, 4, 8, 13, 14]),
    maxReplayBytes: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    backoffFactor: fc.double({ min: 1, max: 10, noNaN: true }),
    jitter: fc.constantFrom("none" as const, "equal" as const),
    maxRetryAfterMs: fc.integer({ min: 0, max: 300_000 }),
  },
  {
    requiredKeys: [
      "attempts",
      "codes",
      "methods",
      "baseBackoffMs",
      "maxBackoffMs",
      "grpcCodes",
      "maxReplayBytes",
    ],
  },
);

const rateLimit: fc.Arbitrary<RateLimitConfig> = fc.record({
  name,
  source: text,
  requests: count,
  perMs: ms,
  burst: count,
  keys: fc.array(
    fc.oneof(
      fc.record({ type: fc.constant("sourceIdentity" as const) }),
      fc.record({ type: fc.constant("header" as const), name }),
    ),
    { maxLength: 2 },
  ),
  scope: fc.constantFrom("local" as const, "global" as const),
  onUnavailable: fc.constantFrom("local" as const, "open" as const, "closed" as const),
  status: fc.integer({ min: 400, max: 499 }),
  retryAfter: fc.boolean(),
});
const idempotency: fc.Arbitrary<IdempotencyConfig> = fc.record({
  name,
  source: text,
  methods: fc.subarray(["POST", "PATCH", "PUT", "DELETE"], { minLength: 1 }),
  ttlMs: ms,
  isRequired: fc.boolean(),
  maxBodyBytes: fc.integer({ min: 0, max: 2 ** 20 }),
  maxRequestBytes: fc.integer({ min: 0, max: 2 ** 24 }),
  maxEntries: count,
  maxStoreBytes: fc.integer({ min: 2 ** 20, max: 2 ** 30 }),
  store: fc.constantFrom("memory" as const, "redis" as const),
  onUnavailable: fc.constantFrom("local" as const, "closed" as const),
});
const priority: fc.Arbitrary<PriorityConfig> = fc.oneof(
  fc.record({ type: fc.constant("class" as const), class: fc.constantFrom("critical", "default", "batch") }),
  fc.record({ type: fc.constant("header" as const), name }),
);
const bulkhead = fc.record(
  { maxRequests: count, maxPending: fc.nat(100), maxWaitMs: fc.oneof(fc.constant(0), ms) },
  { requiredKeys: ["maxPending", "maxWaitMs"] },
);
const bulkheads: fc.Arbitrary<BulkheadsConfig> = fc
  .record({ critical: bulkhead, default: bulkhead, batch: bulkhead }, { requiredKeys: [] })
  .filter((each) => Object.keys(each).length > 0);
const adaptive = fc.record({
  minLimit: fc.integer({ min: 1, max: 10 }),
  maxLimit: fc.integer({ min: 10, max: 1000 }),
  tolerance: fc.double({ min: 1, max: 10, noNaN: true }),
  windowMs: ms,
});
const share = fc.integer({ min: 1, max: 100 });
const shedding: fc.Arbitrary<LoadSheddingConfig> = fc.record(
  { defaultSharePercent: share, batchSharePercent: share, adaptive, source: text },
  { requiredKeys: ["defaultSharePercent", "batchSharePercent", "source"] },
);

const texts = fc.array(
  fc.record(
    { type: fc.constantFrom(...textMatchTypes), value: text, isCaseless: fc.constant(true as const) },
    { requiredKeys: ["type", "value"] },
  ),
  { minLength: 1, maxLength: 2 },
);
const conditions: fc.Arbitrary<readonly AttributeMatch[]> = fc.array(
  fc
    .record(
      { attribute: fc.constantFrom(...attributes), values: texts, notValues: texts },
      { requiredKeys: ["attribute", "values"] },
    )
    .map((match) => (match.attribute === "request.header" ? { ...match, header: "x-a" } : match)),
  { maxLength: 3 },
);
const alternatives = fc.array(conditions, { minLength: 1, maxLength: 2 });
const verdict = fc.constantFrom("allow" as const, "deny" as const);
const authorization: fc.Arbitrary<AuthorizationConfig> = fc.record({
  stages: fc.array(
    fc.record(
      {
        policies: fc.array(
          fc.record(
            {
              name,
              isAudit: fc.constant(true as const),
              rules: fc.array(
                fc.record(
                  {
                    name,
                    action: fc.constantFrom("ALLOW" as const, "DENY" as const, "AUDIT" as const),
                    from: alternatives,
                    to: alternatives,
                    when: conditions,
                  },
                  { requiredKeys: ["name", "action"] },
                ),
                { maxLength: 2 },
              ),
            },
            { requiredKeys: ["name", "rules"] },
          ),
          { maxLength: 2 },
        ),
        otherwise: verdict,
        otherwiseInAudit: verdict,
      },
      { requiredKeys: ["policies", "otherwise"] },
    ),
    { maxLength: 3 },
  ),
});

const streamIdle = fc.record({ idleMs: fc.integer({ min: 0, max: 10_000_000 }), source: text });
const inboundRule: fc.Arbitrary<InboundRule> = fc.record(
  {
    name,
    match,
    rateLimits: fc.array(rateLimit, { minLength: 1, maxLength: 2 }),
    idempotency,
    priority,
    streamIdle,
  },
  { requiredKeys: ["name", "match"] },
);
function fallback(clusters: readonly string[]): fc.Arbitrary<FallbackConfig> {
  const http = fc.record({ status: fc.integer({ min: 200, max: 599 }), headers: pairs, body: text });
  const grpc = fc.record({ status: fc.integer({ min: 1, max: 16 }), message: text });
  return fc.record({
    on: fc.subarray([...fallbackCauses], { minLength: 1 }),
    source: text,
    action: fc.oneof(
      fc.record({
        type: fc.constant("reply" as const),
        reply: fc.oneof(fc.record({ http }), fc.record({ grpc }), fc.record({ http, grpc })),
      }),
      fc.record({ type: fc.constant("service" as const), cluster: fc.constantFrom("", ...clusters) }),
      fc.record({
        type: fc.constant("cached" as const),
        cached: fc.record({ maxAgeMs: ms, maxEntries: count, maxBytes: count }),
      }),
    ),
  });
}

const percentShare = ratio.map((value) => value * 100);
const fault: fc.Arbitrary<FaultConfig> = fc
  .record(
    {
      delay: fc.record({ fixedMs: ms, percent: percentShare }),
      abort: fc.oneof(
        fc.record({ status: fc.integer({ min: 400, max: 599 }), percent: percentShare }),
        fc.record({ grpcStatus: fc.integer({ min: 1, max: 16 }), percent: percentShare }),
      ),
      headers: fc.array(valueMatch, { maxLength: 2 }),
      expiresMs: fc.integer({ min: 0, max: 2 ** 45 }),
      source: text,
    },
    { requiredKeys: ["headers", "expiresMs", "source"] },
  )
  .filter(({ delay, abort }) => delay !== undefined || abort !== undefined);
const hedge: fc.Arbitrary<HedgeConfig> = fc.record({
  after: fc.oneof(
    fc.record({ type: fc.constant("delay" as const), delayMs: ms }),
    fc.record({ type: fc.constant("percentile" as const), percentile: percentShare, minDelayMs: ms }),
  ),
  maxAttempts: fc.integer({ min: 1, max: 3 }),
  budgetPercent: percentShare,
});

function route(clusters: readonly string[]): fc.Arbitrary<RouteConfig> {
  const shared = {
    name,
    source: text,
    hostnames: fc.array(name, { maxLength: 2 }),
    match,
    action: action(clusters),
    requestHeaders: modifier,
    responseHeaders: modifier,
    timeoutMs: ms,
    attemptTimeoutMs: ms,
    streamIdleMs: fc.integer({ min: 0, max: 10_000_000 }),
    limitSources: fc.record(
      { request: name, attempt: name, streamIdle: name },
      { requiredKeys: ["attempt"] },
    ),
    retry,
    fallback: fallback(clusters),
    priority,
    fault,
  };
  return fc
    .record(shared, { requiredKeys: ["name", "source", "hostnames", "match", "action"] })
    .map((each) => {
      if (each.action.type === "forward") return each;
      const redirecting = { ...each };
      for (const field of [
        "timeoutMs",
        "attemptTimeoutMs",
        "streamIdleMs",
        "limitSources",
        "retry",
        "fallback",
        "fault",
        "priority",
      ] as const)
        delete redirecting[field];
      return redirecting;
    });
}

const endpointFields: { [K in keyof EndpointConfig]-?: fc.Arbitrary<NonNullable<EndpointConfig[K]>> } = {
  address: fc.oneof(fc.ipV4(), fc.constantFrom("::1", "2001:db8::7")),
  port: fc.integer({ min: 1, max: 65_535 }),
  meshed: fc.boolean(),
  weight: fc.integer({ min: 1, max: 65_535 }),
  zone: fc.oneof(fc.constant(""), label),
  instance: text,
  meta: fc
    .uniqueArray(fc.tuple(fc.oneof(text, fc.constant("__proto__")), text), {
      selector: ([key]) => key,
      maxLength: 3,
    })
    .map((entries) => Object.fromEntries(entries)),
  isDown: fc.constant(true as const),
};
const endpoint: fc.Arbitrary<EndpointConfig> = fc.record(endpointFields, {
  requiredKeys: ["address", "port", "meshed", "weight", "zone", "instance", "meta"],
});

const hashPolicy: fc.Arbitrary<HashPolicy> = fc.oneof(
  fc.record({ type: fc.constant("header" as const), name, isTerminal: fc.boolean() }),
  fc.record({ type: fc.constant("query" as const), name, isTerminal: fc.boolean() }),
  fc.record({
    type: fc.constantFrom("sourceIdentity" as const, "sourceIP" as const),
    isTerminal: fc.boolean(),
  }),
  fc.record(
    {
      type: fc.constant("cookie" as const),
      name,
      path: text.map((value) => `/${value}`),
      ttlMs: fc.oneof(fc.constant(0), ms),
      isTerminal: fc.boolean(),
    },
    { requiredKeys: ["type", "name", "path", "isTerminal"] },
  ),
);

/** Each policy has the fields that it reads and no others. */
const arbitraryLoadBalancer: fc.Arbitrary<LoadBalancerConfig> = fc
  .record({
    policy: fc.constantFrom(
      ...(["round_robin", "peak_ewma", "random", "least_request", "ring_hash", "maglev"] as const),
    ),
    panicThresholdPercent: percent,
    choiceCount: fc.option(fc.integer({ min: 2, max: 100 })),
    ringHash: fc.option(
      fc.record({
        minimumRingSize: fc.integer({ min: 1, max: 1024 }),
        maximumRingSize: fc.integer({ min: 1024, max: 65_536 }),
      }),
    ),
    maglevTableSize: fc.option(fc.constantFrom(7, 65_537)),
    hashPolicy: fc.option(fc.array(hashPolicy, { minLength: 1, maxLength: 3 })),
    slowStartMs: fc.option(ms),
  })
  .map(
    ({
      policy,
      panicThresholdPercent,
      choiceCount,
      ringHash,
      maglevTableSize,
      hashPolicy: parts,
      slowStartMs,
    }) => ({
      policy,
      panicThresholdPercent,
      ...(policy === "least_request" && choiceCount !== null && { choiceCount }),
      ...(policy === "ring_hash" && ringHash !== null && { ringHash }),
      ...(policy === "maglev" && maglevTableSize !== null && { maglevTableSize }),
      ...((policy === "ring_hash" || policy === "maglev") && parts !== null && { hashPolicy: parts }),
      ...(slowStartMs !== null && { slowStartMs }),
    }),
  );

/** An arbitrary cluster that assertConsistent accepts. */
export function arbitraryCluster(clusterName: string): fc.Arbitrary<ClusterConfig> {
  return fc
    .tuple(requiredOfCluster(clusterName), optionalOfCluster)
    .map(([required, optional]) => ({ ...required, ...optional }));
}

const slowCalls = fc.record({ thresholdMs: ms, ratio: fc.constantFrom(0.01, 0.5, 1) });
const statusCode = fc.integer({ min: 100, max: 599 });
const threshold = fc.integer({ min: 1, max: 100 });
const healthCheck: fc.Arbitrary<HealthCheckConfig> = fc.record({
  probe: fc.oneof(
    fc.record({
      type: fc.constant("http" as const),
      method: fc.constantFrom("GET", "HEAD"),
      path: name.map((value) => `/${value}`),
      host: name,
      statuses: fc.array(fc.tuple(statusCode, statusCode), { maxLength: 2 }),
    }),
    fc.record({ type: fc.constant("grpc" as const), service: text, host: name }),
    fc.record({ type: fc.constant("tcp" as const) }),
  ),
  intervalMs: ms,
  unhealthyIntervalMs: ms,
  timeoutMs: ms,
  unhealthyThreshold: threshold,
  healthyThreshold: threshold,
  initial: fc.constantFrom("healthy" as const, "unhealthy" as const),
});

/** What a cluster has only when a policy says so. */
const optionalOfCluster = fc.record(
  {
    locality: fc.record({ spilloverPercent: percent }),
    // Names of clusters that there are stand in here once these are known.
    healthChecks: fc.array(healthCheck, { minLength: 1, maxLength: 2 }),
    failover: fc.record({ clusters: fc.constant<readonly string[]>([]), thresholdPercent: percent }),
    bulkheads,
    subset: text.filter((value) => value !== ""),
    datacenter: text.filter((value) => value !== ""),
    hedge,
    maxRequestsPerConnection: count,
    maxRetries: count,
    serviceBreaker: fc.record(
      {
        failureRatio: ratio,
        slowCalls,
        windowMs: ms,
        minRequests: count,
        openMs: fc.integer({ min: 1, max: 1000 }),
        maxOpenMs: fc.integer({ min: 1000, max: 10_000_000 }),
        jitterRatio: ratio,
        halfOpenRequests: count,
        rampMs: fc.oneof(fc.constant(0), ms),
      },
      {
        requiredKeys: [
          ...(["failureRatio", "windowMs", "minRequests", "openMs", "maxOpenMs"] as const),
          ...(["jitterRatio", "halfOpenRequests", "rampMs"] as const),
        ],
      },
    ),
  },
  { requiredKeys: [] },
);

const breakerFields = {
  consecutiveFailures: fc.integer({ min: 0, max: 1000 }),
  consecutiveGatewayErrors: fc.integer({ min: 0, max: 1000 }),
  consecutiveLocalOriginFailures: fc.integer({ min: 0, max: 1000 }),
  minSuccessRatio: ratio,
  windowMs: ms,
  minRequests: count,
  baseEjectionMs: fc.integer({ min: 1, max: 1000 }),
  maxEjectionMs: fc.integer({ min: 1000, max: 10_000_000 }),
  jitterRatio: ratio,
  maxEjectionPercent: percent,
};
const arbitraryBreaker: fc.Arbitrary<BreakerConfig> = fc.oneof(
  fc.record(breakerFields),
  fc.record({ ...breakerFields, slowCalls }),
  fc.record({
    ...breakerFields,
    outliers: fc.record({
      minHosts: fc.integer({ min: 2, max: 1000 }),
      minRequests: count,
      stdevFactor: fc.integer({ min: 1, max: 10_000 }).map((thousandths) => thousandths / 1000),
    }),
  }),
);

function requiredOfCluster(clusterName: string): fc.Arbitrary<ClusterConfig> {
  return fc.record({
    name: fc.constant(clusterName),
    service: name,
    namespace: name,
    identities: fc.array(
      text.map((id) => `spiffe://mesh.local/${id}`),
      { minLength: 1, maxLength: 2 },
    ),
    protocol,
    mtlsMode,
    loadBalancer: arbitraryLoadBalancer,
    connectTimeoutMs: ms,
    maxRequests: count,
    maxConnections: count,
    maxPendingRequests: count,
    poolIdleMs: ms,
    tunnelIdleMs: fc.oneof(fc.constant(0), ms),
    maxConcurrentStreams: count,
    breaker: arbitraryBreaker,
    retryBudget: fc.record({
      percent: ratio.map((value) => value * 100),
      minRetriesPerSecond: ratio,
      windowMs: ms,
    }),
    source: text,
  });
}

/**
 * Consistent snapshots in the canonical form that survives the wire exactly: no empty header modifier or rewrite, time
 * limits and retries only on forwarding routes, and an endpoint entry for every cluster.
 */
export const arbitrarySnapshot: fc.Arbitrary<Snapshot> = fc
  .uniqueArray(
    fc.tuple(label, label).map((parts) => parts.join(".")),
    { maxLength: 4 },
  )
  .chain((names) =>
    fc.record({
      version: name,
      inbound: fc
        .record(
          {
            mtlsMode,
            maxRequests: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
            protocol,
            shedding,
            tunnelIdle: streamIdle,
            authorization,
            rules: fc.uniqueArray(inboundRule, { selector: (rule) => rule.name, minLength: 1, maxLength: 3 }),
          },
          { requiredKeys: ["mtlsMode", "maxRequests"] },
        )
        .map((inbound) =>
          inbound.shedding === undefined ? inbound : { ...inbound, maxRequests: inbound.maxRequests || 1 },
        ),
      virtualHosts: fc.tuple(...names.map((host) => virtualHost(host, names))),
      clusters: fc.tuple(...names.map(arbitraryCluster)),
      endpoints: fc
        .tuple(...names.map(() => fc.array(endpoint, { maxLength: 5 })))
        .map((lists) => new Map(lists.map((list, i) => [names[i] ?? "", list]))),
    }),
  )
  .map((snapshot) => ({
    ...snapshot,
    clusters: snapshot.clusters.map(({ failover, ...cluster }) => {
      const others = snapshot.clusters
        .map(({ name: other }) => other)
        .filter((other) => other !== cluster.name);
      if (failover === undefined || others.length === 0) return cluster;
      return { ...cluster, failover: { ...failover, clusters: others } };
    }),
  }))
  // Records have no prototype; real snapshots have.
  .map((snapshot) => structuredClone(snapshot));

function virtualHost(host: string, clusters: readonly string[]): fc.Arbitrary<VirtualHost> {
  return fc.record({
    name: fc.constant(host),
    domains: fc.constantFrom([host], [host, `${host}.mesh`, `*.${host}`]),
    routes: fc.uniqueArray(route(clusters), { selector: (each) => each.name, maxLength: 4 }),
  });
}
