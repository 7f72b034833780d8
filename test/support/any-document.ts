import fc from "fast-check";

const serviceNames = ["api", "web", "cart", "pay", "ghost"] as const;
const namespaces = ["default", "shop"] as const;
const service = fc.constantFrom(...serviceNames);
const namespace = fc.constantFrom(...namespaces);
const headerName = fc.constantFrom("x-a", "X-B", "accept", "__proto__");
const text = fc
  .string({ maxLength: 12, unit: fc.constantFrom(..."abc: #'\"{}[]-?|>&*!%@~1é") })
  .map((value) => value.trim());
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });
const metadata = fc.record({ name: fc.constantFrom("a", "b", "c-d", "e.f"), namespace });

const headerMatches = fc.uniqueArray(
  fc.record({ type: fc.constant("Exact"), name: headerName, value: text }),
  {
    selector: (item) => item.name.toLowerCase(),
    maxLength: 2,
  },
);
const match = fc.record({
  path: optional(
    fc.record({
      type: fc.constantFrom("Exact", "PathPrefix", "RegularExpression"),
      value: fc.constantFrom("/", "/v1", "/v1/", "/v2/x", "/a.b"),
    }),
  ),
  method: optional(fc.constantFrom("GET", "POST")),
  headers: optional(headerMatches),
  queryParams: optional(headerMatches),
});
const headerChange = fc.record({
  type: fc.constant("RequestHeaderModifier"),
  requestHeaderModifier: fc.record({
    set: optional(fc.array(fc.record({ name: headerName, value: text }), { maxLength: 1 })),
    remove: optional(fc.array(headerName, { maxLength: 2 })),
  }),
});
const mirror = fc.record({
  type: fc.constant("RequestMirror"),
  requestMirror: fc
    .tuple(
      fc.record({ backendRef: fc.record({ name: service, namespace: optional(namespace) }) }),
      fc.oneof(fc.constant({}), fc.constant({ percent: 10 }), fc.constant({ fraction: { numerator: 1 } })),
    )
    .map(([ref, share]) => ({ ...ref, ...share })),
});
const filters = fc
  .tuple(fc.array(headerChange, { maxLength: 1 }), fc.array(mirror, { maxLength: 2 }))
  .map((both) => both.flat());
const duration = fc.constantFrom("0s", "1s", "250ms", "1m30s");
const retry = fc.record({
  codes: optional(fc.array(fc.integer({ min: 400, max: 599 }), { maxLength: 3 })),
  attempts: optional(fc.integer({ min: 1, max: 10 })),
  backoff: optional(duration),
});
const rule = fc.record({
  matches: optional(fc.array(match, { maxLength: 3 })),
  filters: optional(filters),
  backendRefs: optional(
    fc
      .array(
        fc.record({
          name: service,
          namespace: optional(namespace),
          subset: optional(fc.constantFrom("v1", "v2")),
          weight: optional(fc.integer({ min: 0, max: 9 })),
        }),
        { maxLength: 3 },
      )
      // A split of nothing is refused.
      .filter((backends) => backends.length === 0 || backends.some(({ weight }) => weight !== 0)),
  ),
  timeouts: optional(fc.record({ request: optional(duration) })),
  retry: optional(retry),
});

const httpRoute = fc.record({
  apiVersion: fc.constantFrom("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"),
  kind: fc.constant("HTTPRoute"),
  metadata,
  spec: fc.record({
    parentRefs: fc.uniqueArray(fc.record({ name: service, namespace }), {
      minLength: 1,
      maxLength: 2,
      selector: (ref) => `${ref.name}.${ref.namespace}`,
    }),
    hostnames: optional(
      fc.uniqueArray(fc.constantFrom("a.example", "*.example", "api", "web.shop", "cart.mesh"), {
        maxLength: 2,
      }),
    ),
    // The names that policies of routes know; of the third there is none.
    rules: fc
      .array(rule, { maxLength: 3 })
      .map((rules) => rules.map((item, index) => ({ ...item, name: ["first", "second"][index] }))),
  }),
});

const grpcMatch = fc.record({
  method: optional(
    fc
      .record({
        type: optional(fc.constantFrom("Exact", "RegularExpression")),
        service: optional(fc.constantFrom("shop.v1.Cart", "shop.v1", "a")),
        method: optional(fc.constantFrom("Get", "Put", "b")),
      })
      .filter(({ service: name, method }) => name !== undefined || method !== undefined),
  ),
  headers: optional(headerMatches),
});
const grpcRoute = fc.record({
  apiVersion: fc.constantFrom("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"),
  kind: fc.constant("GRPCRoute"),
  metadata,
  spec: fc.record({
    parentRefs: fc.tuple(fc.record({ name: service, namespace })),
    hostnames: optional(fc.tuple(fc.constantFrom("a.example", "*.example", "api"))),
    rules: optional(
      fc.array(
        fc.record({
          matches: optional(fc.array(grpcMatch, { maxLength: 3 })),
          filters: optional(filters),
          backendRefs: optional(
            fc.array(fc.record({ name: service, namespace: optional(namespace) }), { maxLength: 3 }),
          ),
        }),
        { maxLength: 3 },
      ),
    ),
  }),
});

const rateLimit = fc.record({
  requests: fc.integer({ min: 1, max: 9 }),
  per: fc.constantFrom("1s", "250ms"),
  burst: optional(fc.integer({ min: 1, max: 9 })),
  key: optional(fc.constantFrom([], [{ header: "X-Key" }], [{ sourceIdentity: true }, { header: "x-a" }])),
  scope: optional(fc.constantFrom("local", "global")),
});
const idempotency = fc.record({
  methods: optional(fc.subarray(["POST", "PATCH", "PUT", "DELETE"], { minLength: 1 })),
  ttl: optional(fc.constantFrom("24h", "90s")),
  required: optional(fc.boolean()),
  maxBodyBytes: optional(fc.constantFrom("0B", "64KiB")),
  maxRequestBytes: optional(fc.constantFrom("1KiB", "16MiB")),
  maxEntries: optional(fc.integer({ min: 1, max: 9 })),
  maxStoreBytes: optional(fc.constantFrom("1MiB", "1024MiB")),
  store: optional(fc.constantFrom("memory", "redis")),
});
/** Without places of its own: whether these fit depends on the whole. */
const bulkhead = fc.oneof(
  fc.record({ maxPending: fc.integer({ min: 1, max: 9 }), maxWait: fc.constantFrom("1s", "250ms") }),
  fc.record({ maxWait: optional(duration) }),
);
const routeLevel = {
  fault: optional(
    fc.record({
      delay: fc.record({ fixed: fc.constant("1s"), percent: optional(fc.integer({ min: 0, max: 100 })) }),
      abort: optional(fc.record({ status: fc.constantFrom(500, 503), grpcStatus: fc.constant("ABORTED") })),
      match: optional(fc.record({ headers: optional(headerMatches) })),
      expires: fc.constantFrom("2026-01-02T00:00:00Z", "2020-01-01T00:00:00+01:00"),
    }),
  ),
  retry: optional(
    fc.record({
      attempts: optional(fc.integer({ min: 1, max: 10 })),
      perTryTimeout: optional(fc.constantFrom("0s", "100ms")),
      backoff: optional(
        fc.record({
          base: optional(fc.constantFrom("0s", "1s")),
          factor: optional(fc.constantFrom(1, 1.5, 10)),
          jitter: optional(fc.constantFrom("full", "none", "equal")),
          maxRetryAfter: optional(fc.constantFrom("0s", "1s")),
        }),
      ),
      on: optional(
        fc.subarray([
          "gateway-error",
          "5xx",
          "reset-before-request",
          "retriable-4xx",
          "unavailable",
          "internal",
        ]),
      ),
    }),
  ),
  timeouts: optional(fc.record({ request: optional(duration), streamIdle: optional(duration) })),
  priority: optional(fc.constantFrom("critical", "default", "batch", { header: "X-Priority" })),
  rateLimit: optional(fc.oneof(rateLimit, fc.array(rateLimit, { minLength: 1, maxLength: 2 }))),
  fallback: optional(
    fc
      .tuple(
        fc.record({ on: optional(fc.subarray(["open", "5xx", "rate-limited"], { minLength: 1 })) }),
        fc.oneof(
          fc.constant({ reply: { status: 200, body: "later", grpcStatus: "UNAVAILABLE" } }),
          fc.record({ service: fc.record({ name: service, namespace: optional(namespace) }) }),
          fc.record({ cached: fc.record({ maxAge: optional(fc.constant("5m")) }) }),
        ),
      )
      .map(([on, action]) => ({ ...on, ...action })),
  ),
  idempotency: optional(idempotency),
};
interface PolicyWithTargets {
  readonly spec: {
    readonly targetRefs: readonly { readonly kind: string }[];
    readonly protocol?: string | undefined;
    readonly idempotency?: unknown;
  };
}

/** Leaves it out where it is refused. */
function withoutVoidIdempotency(policy: PolicyWithTargets): object {
  const { targetRefs, protocol } = policy.spec;
  const isVoid =
    protocol === "grpc" || protocol === "tcp" || targetRefs.some(({ kind }) => kind === "GRPCRoute");
  if (!isVoid) return policy;
  const { idempotency: _, ...spec } = policy.spec;
  return { ...policy, spec };
}

const routePolicy = fc.record({
  apiVersion: fc.constant("remora.mesh/v1"),
  kind: fc.constant("TrafficPolicy"),
  metadata,
  spec: fc.record({
    targetRefs: fc.uniqueArray(
      fc.record({
        kind: fc.constantFrom("HTTPRoute", "GRPCRoute"),
        name: fc.constantFrom("a", "b"),
        sectionName: optional(fc.constantFrom("first", "second")),
      }),
      { minLength: 1, maxLength: 2, selector: (ref) => JSON.stringify(ref) },
    ),
    ...routeLevel,
  }),
});

const slowCalls = fc.record({
  threshold: fc.constantFrom("1s", "250ms"),
  ratio: optional(fc.constantFrom(0.2, 1)),
});

const source = fc.record({
  principals: optional(fc.constantFrom(["*"], ["spiffe://mesh.local/ns/a/svc/web"], ["mesh.local/ns/a/*"])),
  notNamespaces: optional(fc.constantFrom(["a"], ["a*", "b"])),
  ipBlocks: fc.constantFrom(["10.0.0.0/8"], ["::1", "fd00::/8"]),
});
const operation = fc.record({
  hosts: optional(fc.constantFrom(["api"], ["*.example"])),
  notPaths: optional(fc.constantFrom(["/a/{*}/b"], ["*.html", "/x*"])),
  methods: fc.constantFrom(["GET"], ["*"], ["P*"]),
});
const authorizationPolicy = fc.record({
  apiVersion: fc.constantFrom("security.istio.io/v1", "security.istio.io/v1beta1", "remora.mesh/v1"),
  kind: fc.constant("AuthorizationPolicy"),
  metadata,
  spec: fc.record({
    targetRefs: optional(fc.tuple(fc.record({ kind: fc.constant("Service"), name: service }))),
    action: optional(fc.constantFrom("ALLOW", "DENY", "AUDIT")),
    mode: optional(fc.constantFrom("audit", "enforce")),
    rules: optional(
      fc.array(
        fc.record({
          from: optional(fc.array(fc.record({ source }), { minLength: 1, maxLength: 2 })),
          to: optional(fc.array(fc.record({ operation }), { minLength: 1, maxLength: 2 })),
          when: optional(
            fc.constantFrom(
              [{ key: "request.headers[X-A]", notValues: ["b"] }],
              [{ key: "source.namespace", values: ["a"] }],
            ),
          ),
        }),
        { maxLength: 2 },
      ),
    ),
  }),
});

const trafficPolicy = fc.record({
  apiVersion: fc.constant("remora.mesh/v1"),
  kind: fc.constant("TrafficPolicy"),
  metadata,
  spec: fc.record({
    targetRefs: fc.uniqueArray(fc.record({ kind: fc.constant("Service"), name: service }), {
      minLength: 1,
      maxLength: 2,
      selector: (ref) => ref.name,
    }),
    protocol: optional(fc.constantFrom("http", "http2", "grpc", "tcp")),
    loadBalancer: optional(
      fc.oneof(
        fc.record({
          policy: optional(fc.constantFrom("round_robin", "peak_ewma", "random", "least_request")),
          slowStart: optional(fc.constantFrom("10s", "1m")),
          subset: optional(fc.constantFrom({ version: "v1" }, { version: "v2", track: "a" })),
          subsetFallback: optional(fc.constantFrom("none", "any")),
          locality: optional(
            fc.record({
              preferLocal: fc.constant(true),
              spillover: optional(fc.integer({ min: 0, max: 100 })),
            }),
          ),
        }),
        fc.record({
          policy: fc.constantFrom("ring_hash", "maglev"),
          hashPolicy: fc.constantFrom(
            [{ header: "x-a" }],
            [{ cookie: { name: "c", ttl: "1h" } }, { query: "q" }],
            [{ sourceIdentity: true }, { sourceIP: true }],
          ),
        }),
      ),
    ),
    subsets: optional(
      fc.constantFrom({ v1: { meta: { version: "v1" } } }, { v2: { meta: { version: "v2" } } }),
    ),
    connectionPool: optional(
      fc.record({
        maxRequests: optional(fc.integer({ min: 1, max: 99 })),
        maxRetries: optional(fc.integer({ min: 1, max: 99 })),
        maxRequestsPerConnection: optional(fc.integer({ min: 0, max: 99 })),
        tcp: optional(fc.record({ idleTimeout: optional(duration) })),
      }),
    ),
    outlierDetection: optional(
      fc.record({
        baseEjectionTime: optional(fc.constantFrom("1s", "5m")),
        maxEjectionPercent: optional(fc.integer({ min: 0, max: 99 })),
        slowCalls: optional(slowCalls),
      }),
    ),
    circuitBreaker: optional(
      fc.record({
        failureRatio: optional(fc.constantFrom(0.1, 1)),
        slowCalls: optional(slowCalls),
        minimumRequests: optional(fc.integer({ min: 1, max: 99 })),
        window: optional(fc.constantFrom("1s", "1m30s")),
        openFor: optional(fc.constantFrom("1s", "5m")),
        halfOpenRequests: optional(fc.integer({ min: 1, max: 9 })),
        ramp: optional(duration),
      }),
    ),
    healthChecks: optional(
      fc.constantFrom(
        [{ http: { path: "/health", expectedStatuses: [200, "300-399"] }, interval: "5s" }],
        [{ http: { path: "/" } }, { http: { path: "/deep" }, initial: "unhealthy" }],
      ),
    ),
    failover: optional(
      fc.constantFrom<object[]>(
        [{ service: "behind" }],
        [{ service: "behind", namespace: "shop" }],
        [{ datacenter: "dc2" }, { service: "behind", datacenter: "dc3" }],
      ),
    ),
    ...routeLevel,
    bulkheads: optional(
      fc.record({ critical: optional(bulkhead), default: optional(bulkhead), batch: optional(bulkhead) }),
    ),
    adaptiveConcurrency: optional(
      fc.record({ minLimit: optional(fc.integer({ min: 1, max: 9 })), window: optional(fc.constant("1s")) }),
    ),
    hedge: optional(
      fc.oneof(
        fc.record({ delay: fc.constant("50ms"), maxAttempts: optional(fc.integer({ min: 1, max: 3 })) }),
        fc.record({ percentile: fc.constant(95), budgetPercent: optional(fc.integer({ min: 0, max: 100 })) }),
      ),
    ),
    mtls: optional(
      fc.oneof(
        fc.record({ mode: fc.constantFrom("STRICT", "PERMISSIVE", "DISABLE") }),
        fc.record({
          mode: fc.constantFrom("STRICT", "PERMISSIVE"),
          peerIdentity: fc.constantFrom(
            ["spiffe://mesh.local/ns/default/svc/a"],
            ["spiffe://b/x", "spiffe://c/y/z"],
          ),
        }),
      ),
    ),
  }),
});

/** Any valid document as a user may write it: defaults left out, few names so that documents meet each other. */
export const anyDocument: fc.Arbitrary<unknown> = fc
  .oneof(
    httpRoute,
    grpcRoute,
    authorizationPolicy,
    trafficPolicy.filter(isNotItsOwnFallback).map(withFittingChecks).map(withoutVoidIdempotency),
    routePolicy.map(withoutVoidIdempotency),
  )
  .map(withoutUndefined);

/** Raw TCP has no answer to a request for its health. */
function withFittingChecks<
  P extends { readonly spec: { readonly protocol?: unknown; readonly healthChecks?: unknown } },
>(policy: P): P {
  const { protocol, healthChecks } = policy.spec;
  if (protocol !== "tcp" || healthChecks === undefined) return policy;
  return { ...policy, spec: { ...policy.spec, healthChecks: [{ tcp: {} }] } };
}

/** A service cannot stand in for itself. */
function isNotItsOwnFallback({
  metadata,
  spec,
}: {
  readonly metadata: { readonly namespace: string };
  readonly spec: { readonly targetRefs: readonly { readonly name: string }[]; readonly fallback?: unknown };
}): boolean {
  const { service: other } = (spec.fallback ?? {}) as { service?: { name: string; namespace?: string } };
  if (other === undefined || (other.namespace ?? metadata.namespace) !== metadata.namespace) return true;
  return spec.targetRefs.every(({ name }) => name !== other.name);
}

function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown;
}
