import fc from "fast-check";
import t from "tap";
import { stringify } from "yaml";
import type { CatalogState, Instance } from "../../../control-plane/catalog/catalog.js";
import { compileSnapshot, MeshCompiler } from "../../../control-plane/compiler/compile.js";
import { isRoutable } from "../../../control-plane/compiler/compile-endpoints.js";
import { compileRetry } from "../../../control-plane/compiler/compile-retry.js";
import { conditionsOf, withStatus } from "../../../control-plane/compiler/conditions.js";
import type { MeshModel } from "../../../control-plane/compiler/mesh-model.js";
import { MeshSource } from "../../../control-plane/compiler/mesh-source.js";
import type { MeshNode } from "../../../control-plane/compiler/node.js";
import { refusedServices } from "../../../control-plane/compiler/service-name.js";
import { parseDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import { idOf, type StoredDocument } from "../../../control-plane/policy-store/stored-document.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import { canonicalJson } from "../../../src/config/canonical-json.js";
import { clustersOf } from "../../../src/config/clusters-of.js";
import { clusterDefaults, replyCacheDefaults, retryDefaults } from "../../../src/config/cluster-defaults.js";
import type { Snapshot } from "../../../src/config/snapshot.js";
import { LatestValue } from "../../../src/lifecycle/latest-value.js";
import { anyDocument } from "../../support/any-document.js";
import { FakeClock } from "../../support/fake-clock.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const route = (name: string, spec: string, namespace = "default"): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---
`;
const policy = (name: string, spec: string): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${name}}
spec: {${spec}}
---
`;

const web: MeshNode = {
  id: "web-1",
  service: "web",
  namespace: "default",
  protocol: "http",
  upstreams: ["api.default"],
  zone: "",
};
const everyService: MeshNode = { ...web, upstreams: [] };
const three = {
  "web.default": [instance("web-1")],
  "api.default": [instance("api-1"), instance("api-2")],
  "api-v2.default": [instance("v2-1")],
  "pay.shop": [instance("pay-1")],
};

function compile(
  yaml: string,
  node: MeshNode = web,
  services: Parameters<typeof catalogOf>[0] = three,
): Snapshot {
  const model: MeshModel = {
    trustDomain: "mesh.local",
    catalog: catalogOf(services),
    documents: documentsOf(yaml),
  };
  const snapshot = compileSnapshot(model, node);
  assertConsistent(snapshot);
  return snapshot;
}

const clusterNames = (snapshot: Snapshot): readonly string[] =>
  snapshot.clusters.map((cluster) => cluster.name);
const hostOf = (snapshot: Snapshot, name: string) => snapshot.virtualHosts.find((host) => host.name === name);

t.test("without documents a service is reached by its names, with the defaults", async (t) => {
  const snapshot = compile("");
  t.same(clusterNames(snapshot), ["api.default"]);
  t.match(snapshot.virtualHosts, [
    {
      name: "api.default",
      domains: ["api", "api.default", "api.default.mesh", "api.mesh"],
      routes: [
        {
          name: "default",
          source: "default",
          hostnames: [],
          action: { type: "forward", backends: [{ cluster: "api.default", weight: 1 }] },
        },
      ],
    },
  ]);
  t.same(snapshot.clusters[0], {
    name: "api.default",
    service: "api",
    namespace: "default",
    identities: ["spiffe://mesh.local/ns/default/svc/api"],
    protocol: "http",
    mtlsMode: "STRICT",
    source: "default",
    ...clusterDefaults,
  });
  t.same(
    snapshot.endpoints.get("api.default")?.map(({ address, port, meshed }) => [address, port, meshed]),
    [
      ["10.0.0.1", 15_001, true],
      ["10.0.0.1", 15_002, true],
    ],
  );
  t.match(snapshot.inbound, { mtlsMode: "STRICT", maxRequests: 0 });
  t.match(snapshot.version, /^[0-9a-f]{16}$/);
});

t.test("a fallback brings the service along that answers", async (t) => {
  const fallbackOf = (spec: string) => {
    const snapshot = compile(policy("p", `targetRefs: [{kind: Service, name: api}], fallback: {${spec}}`));
    return { clusters: clusterNames(snapshot), fallback: snapshot.virtualHosts[0]?.routes[0]?.fallback };
  };
  const source = "TrafficPolicy/default/p";
  const on = ["open", "timeout", "5xx", "connect-failure", "no-endpoint"];
  t.same(fallbackOf("service: {name: pay, namespace: shop}"), {
    clusters: ["api.default", "pay.shop"],
    fallback: { on, action: { type: "service", cluster: "pay.shop" }, source },
  });
  t.same(fallbackOf("on: [rate-limited, open], service: {name: nobody}"), {
    clusters: ["api.default"],
    fallback: { on: ["open", "rate-limited"], action: { type: "service", cluster: "" }, source },
  });
  t.same(fallbackOf("cached: {maxAge: 1m}").fallback?.action, {
    type: "cached",
    cached: { ...replyCacheDefaults, maxAgeMs: 60_000 },
  });
  t.same(fallbackOf("reply: {status: 200, body: x, grpcStatus: UNAVAILABLE}").fallback?.action, {
    type: "reply",
    reply: { http: { status: 200, headers: [], body: "x" }, grpc: { status: 14, message: "" } },
  });
  const waiting = documentsOf(
    policy("p", "targetRefs: [{kind: Service, name: api}], fallback: {service: {name: b}}"),
  );
  const conditions = conditionsOf({
    trustDomain: "mesh.local",
    catalog: catalogOf(three),
    documents: waiting,
  });
  t.match(conditions.get(source)?.[1], {
    status: "False",
    message: "service b.default is not in the registry: there is no fallback until it is",
  });
});

t.test("mirrors bring their services along; one that is not there is left out", async (t) => {
  const filter = (share: string): string => `{type: RequestMirror, requestMirror: {${share}}}`;
  const documents = route(
    "m",
    `parentRefs: [{name: api}], rules: [{backendRefs: [{name: api}], filters: [
      ${filter("backendRef: {name: api-v2}, percent: 10")},
      ${filter("backendRef: {name: pay, namespace: shop}, fraction: {numerator: 1, denominator: 3}")},
      ${filter("backendRef: {name: web}")}, ${filter("backendRef: {name: ghost}")}]}]`,
  );
  const snapshot = compile(documents);
  t.same(clusterNames(snapshot), ["api-v2.default", "api.default", "pay.shop", "web.default"]);
  t.match(snapshot.virtualHosts[0]?.routes[0]?.action, {
    mirrors: [
      { cluster: "api-v2.default", perMillion: 100_000 },
      { cluster: "pay.shop", perMillion: 333_333 },
      { cluster: "web.default", perMillion: 1_000_000 },
    ],
  });
  const conditions = conditionsOf({
    trustDomain: "mesh.local",
    catalog: catalogOf(three),
    documents: documentsOf(documents),
  });
  t.match(conditions.get("HTTPRoute/default/m")?.[1], {
    status: "False",
    reason: "BackendNotFound",
    message: "service ghost.default is not in the registry or no HTTP: no request is mirrored there",
  });
});

t.test("faults are those of the nearest policy, hedging is the service's", async (t) => {
  const snapshot = compile(
    route(
      "r",
      "parentRefs: [{name: api}], rules: [{name: canary, backendRefs: [{name: api}]}, {name: other, matches: [{path: {value: /b}}]}]",
    ) +
      policy(
        "p",
        "targetRefs: [{kind: Service, name: api}], fault: {abort: {grpcStatus: ABORTED}, expires: 2026-01-02T00:00:00Z}, hedge: {percentile: 99}",
      ) +
      policy(
        "q",
        "targetRefs: [{kind: HTTPRoute, name: r, sectionName: canary}], fault: {delay: {fixed: 1s, percent: 5}, match: {headers: [{name: X-A, value: b}]}, expires: 2026-01-02T01:00:00+01:00}",
      ),
  );
  const expiresMs = Date.UTC(2026, 0, 2);
  t.same(
    snapshot.virtualHosts[0]?.routes.map(({ fault }) => fault),
    [
      { abort: { grpcStatus: 10, percent: 100 }, headers: [], expiresMs, source: "TrafficPolicy/default/p" },
      {
        delay: { fixedMs: 1000, percent: 5 },
        headers: [{ name: "x-a", type: "exact", value: "b" }],
        expiresMs,
        source: "TrafficPolicy/default/q",
      },
    ],
  );
  t.same(snapshot.clusters.find(({ name }) => name === "api.default")?.hedge, {
    after: { type: "percentile", percentile: 99, minDelayMs: 10 },
    maxAttempts: 1,
    budgetPercent: 10,
  });
});

t.test("a node gets what it declared, or everything", async (t) => {
  t.same(clusterNames(compile("", everyService)), [
    "api-v2.default",
    "api.default",
    "pay.shop",
    "web.default",
  ]);
  t.same(hostOf(compile("", everyService), "pay.shop")?.domains, ["pay.shop", "pay.shop.mesh"]);
  const unknown = compile("", { ...web, upstreams: ["later", "../x", "pay.shop"] });
  t.same(clusterNames(unknown), ["later.default", "pay.shop"], "a service may come after its callers");
  t.equal(unknown.endpoints.has("later.default"), false);
});

t.test("a route takes the place of the catch-all and brings its backends along", async (t) => {
  const snapshot = compile(
    route(
      "split",
      `parentRefs: [{name: api}], hostnames: [api.example], rules: [
        {name: beta, matches: [{headers: [{name: X-User, value: beta}]}, {path: {type: Exact, value: /beta}}],
         backendRefs: [{name: api-v2, port: 80}], timeouts: {request: 2s, backendRequest: 500ms}, retry: {attempts: 3, codes: [503, 500], backoff: 100ms}},
        {filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}], remove: [X-Gone]}},
                   {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}],
         backendRefs: [{name: api, weight: 9}, {name: ghost}]}]`,
    ),
  );
  t.same(clusterNames(snapshot), ["api-v2.default", "api.default"]);
  const host = hostOf(snapshot, "api.default");
  t.same(host?.domains, ["api", "api.default", "api.default.mesh", "api.example", "api.mesh"]);
  t.same(
    host?.routes.map((item) => item.name),
    ["httproute/default/split/beta/1", "httproute/default/split/beta/0", "httproute/default/split/#1/0"],
    "exact path, then header, then everything",
  );
  t.match(host?.routes[1], {
    source: "HTTPRoute/default/split",
    hostnames: ["api", "api.default", "api.default.mesh", "api.example", "api.mesh"],
    match: {
      path: { type: "prefix", value: "/" },
      headers: [{ name: "x-user", type: "exact", value: "beta" }],
    },
    timeoutMs: 2000,
    attemptTimeoutMs: 500,
    retry: { attempts: 3, codes: [500, 503], baseBackoffMs: 100, maxBackoffMs: 1000 },
  });
  t.match(host?.routes[2], {
    requestHeaders: { set: [["X-A", "b"]], add: [], remove: ["x-gone"] },
    action: {
      type: "forward",
      backends: [
        { cluster: "api.default", weight: 9 },
        { cluster: "", weight: 1 },
      ],
      rewrite: { path: { type: "prefix", value: "/v1" } },
    },
  });
  t.notOk(host?.routes[2] && "timeoutMs" in host.routes[2]);
});

t.test("redirects, empty rules and older routes", async (t) => {
  const snapshot = compile(
    route(
      "old",
      "parentRefs: [{name: api}], rules: [{matches: [{path: {value: /x}}], backendRefs: [{name: api}]}]",
    ) +
      route("new", "parentRefs: [{name: api}], rules: [{matches: [{path: {value: /x}}]}]") +
      route(
        "redirect",
        `parentRefs: [{name: api}], rules: [{matches: [{path: {value: /a}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, path: {type: ReplaceFullPath, replaceFullPath: /b}}}]}]`,
      ),
  );
  const routes = hostOf(snapshot, "api.default")?.routes ?? [];
  t.same(
    routes.map((item) => item.source),
    ["HTTPRoute/default/old", "HTTPRoute/default/new", "HTTPRoute/default/redirect"],
  );
  t.same(routes[1]?.action, { type: "forward", backends: [] }, "answered with 500");
  t.same(routes[2]?.action, {
    type: "redirect",
    redirect: { scheme: "https", path: { type: "full", value: "/b" }, status: 302 },
  });
});

t.test("a route of the callers' namespace goes before the service's own", async (t) => {
  const yaml =
    route("producer", "parentRefs: [{name: pay}], rules: [{name: p, backendRefs: [{name: pay}]}]", "shop") +
    route(
      "consumer",
      "parentRefs: [{name: pay, namespace: shop}], rules: [{name: c, backendRefs: [{name: api}]}]",
    );
  const source = (node: MeshNode): string | undefined =>
    hostOf(compile(yaml, node), "pay.shop")?.routes[0]?.source;
  t.equal(source(everyService), "HTTPRoute/default/consumer");
  t.equal(source({ ...everyService, namespace: "shop" }), "HTTPRoute/shop/producer");
  t.equal(source({ ...everyService, namespace: "other" }), "HTTPRoute/shop/producer");
});

t.test("a TrafficPolicy changes the cluster and what its routes leave open", async (t) => {
  const yaml = policy(
    "api",
    `targetRefs: [{kind: Service, name: api}], loadBalancer: {policy: round_robin, locality: {panicThreshold: 0}},
     connectionPool: {connectTimeout: 300ms, maxRequests: 7, maxConnections: 8, maxPendingRequests: 9, maxRequestsPerConnection: 6, maxRetries: 4, idleTimeout: 2s},
     circuitBreaker: {failureRatio: 0.3, slowCalls: {threshold: 2s}, openFor: 90s, halfOpenRequests: 2, ramp: 0s},
     outlierDetection: {slowCalls: {threshold: 700ms, ratio: 0.2}, consecutive5xx: 3, interval: 5s, baseEjectionTime: 90s, maxEjectionPercent: 10, successRate: {minimumRatio: 0.5, requestVolume: 50, stdevFactor: 2.5}},
     retry: {attempts: 2, codes: [503], methods: [GET], backoff: {base: 10ms, max: 40ms}, bufferLimit: 1KiB},
     retryBudget: {percent: 5, minRetriesPerSecond: 1, interval: 3s}, timeouts: {request: 9s}, mtls: {mode: PERMISSIVE}`,
  );
  const snapshot = compile(yaml);
  const plain = compile(policy("api", "targetRefs: [{kind: Service, name: api}]")).clusters[0];
  t.notOk(plain && ("serviceBreaker" in plain || "slowCalls" in plain.breaker), "off unless configured");
  const compared = policy(
    "api",
    "targetRefs: [{kind: Service, name: api}], outlierDetection: {successRate: {minimumHosts: 7}}",
  );
  t.match(compile(compared).clusters[0]?.breaker, {
    minRequests: 5,
    outliers: { minHosts: 7, minRequests: 100, stdevFactor: 1.9 },
  });
  t.notOk(plain && "outliers" in plain.breaker);
  const named = policy(
    "api",
    "targetRefs: [{kind: Service, name: api}], mtls: {mode: STRICT, peerIdentity: ['spiffe://o/a', 'spiffe://o/b']}",
  );
  t.same(compile(named).clusters[0]?.identities, ["spiffe://o/a", "spiffe://o/b"], "in place of its own");
  const zero = policy(
    "api",
    "targetRefs: [{kind: Service, name: api}], connectionPool: {maxRequestsPerConnection: 0}",
  );
  t.notOk("maxRequestsPerConnection" in (compile(zero).clusters[0] ?? {}), "0 = no limit");
  t.match(snapshot.clusters[0], {
    source: "TrafficPolicy/default/api",
    mtlsMode: "PERMISSIVE",
    loadBalancer: { policy: "round_robin", panicThresholdPercent: 0 },
    connectTimeoutMs: 300,
    maxRequests: 7,
    maxConnections: 8,
    maxPendingRequests: 9,
    maxRequestsPerConnection: 6,
    maxRetries: 4,
    poolIdleMs: 2000,
    breaker: {
      consecutiveFailures: 3,
      minSuccessRatio: 0.5,
      windowMs: 5000,
      minRequests: 50,
      baseEjectionMs: 90_000,
      maxEjectionMs: 90_000,
      maxEjectionPercent: 10,
      slowCalls: { thresholdMs: 700, ratio: 0.2 },
      outliers: { minHosts: 5, minRequests: 50, stdevFactor: 2.5 },
    },
    serviceBreaker: {
      failureRatio: 0.3,
      slowCalls: { thresholdMs: 2000, ratio: 0.5 },
      windowMs: 10_000,
      minRequests: 20,
      openMs: 90_000,
      maxOpenMs: 90_000,
      halfOpenRequests: 2,
      rampMs: 0,
    },
    retryBudget: { percent: 5, minRetriesPerSecond: 1, windowMs: 3000 },
  });
  const retry = {
    attempts: 2,
    codes: [503],
    methods: ["GET"],
    baseBackoffMs: 10,
    maxBackoffMs: 40,
    maxReplayBytes: 1024,
  };
  t.match(hostOf(snapshot, "api.default")?.routes, [
    { source: "TrafficPolicy/default/api", timeoutMs: 9000, retry },
  ]);
  const own = compile(
    yaml + route("r", "parentRefs: [{name: api}], rules: [{timeouts: {request: 0s}, retry: {attempts: 4}}]"),
  );
  const [first] = hostOf(own, "api.default")?.routes ?? [];
  t.match(first, { source: "HTTPRoute/default/r", retry: { ...retry, attempts: 4 } });
  t.notOk(first && "timeoutMs" in first, "0s takes the limit of the policy away");
  t.equal(compile(yaml, { ...web, service: "api" }).inbound.mtlsMode, "PERMISSIVE");
});

t.test(
  "classes of requests: the nearest policy's word, bulkheads and limits with their defaults",
  async (t) => {
    const routes =
      route(
        "r",
        "parentRefs: [{name: api}], rules: [{name: nightly, matches: [{path: {value: /nightly}}], backendRefs: [{name: api}]}, {backendRefs: [{name: api}]}]",
      ) +
      policy("n", "targetRefs: [{kind: HTTPRoute, name: r, sectionName: nightly}], priority: batch") +
      policy(
        "api",
        `targetRefs: [{kind: Service, name: api}], priority: {header: X-Class},
       bulkheads: {critical: {maxRequests: 30}, batch: {maxRequests: 5, maxWait: 200ms}, default: {maxWait: 1s, maxPending: 7}},
       adaptiveConcurrency: {maxLimit: 3}, loadShedding: {shares: {default: 50}}`,
      );
    const snapshot = compile(routes);
    t.same(
      hostOf(snapshot, "api.default")?.routes.map(({ match, priority }) => [match.path.value, priority]),
      [
        ["/nightly", { type: "class", class: "batch" }],
        ["/", { type: "header", name: "x-class" }],
      ],
    );
    t.same(snapshot.clusters.find(({ name }) => name === "api.default")?.bulkheads, {
      critical: { maxRequests: 30, maxPending: 0, maxWaitMs: 0 },
      default: { maxPending: 7, maxWaitMs: 1000 },
      batch: { maxRequests: 5, maxPending: 5, maxWaitMs: 200 },
    });
    const own = compile(routes, { ...web, service: "api" }).inbound;
    t.same(own.shedding, {
      defaultSharePercent: 50,
      batchSharePercent: 50,
      adaptive: { minLimit: 3, maxLimit: 3, tolerance: 1.5, windowMs: 250 },
      source: "TrafficPolicy/default/api",
    });
    t.same(
      own.rules?.map(({ name, priority }) => [name, priority]),
      [
        ["httproute/default/r/nightly/0", { type: "class", class: "batch" }],
        ["default", { type: "header", name: "x-class" }],
      ],
    );
    const fixed = policy("api", "targetRefs: [{kind: Service, name: api}], loadShedding: {maxRequests: 40}");
    const inbound = compile(fixed, { ...web, service: "api" }).inbound;
    t.equal(inbound.maxRequests, 40);
    t.same(inbound.shedding, {
      defaultSharePercent: 85,
      batchSharePercent: 60,
      source: "TrafficPolicy/default/api",
    });
    for (const key of ["shedding", "rules"])
      t.notOk(key in compile("").inbound, `no ${key} unless asked for`);
  },
);

t.test("of several policies the nearest wins, field by field", async (t) => {
  const yaml =
    route(
      "r",
      `parentRefs: [{name: api}], rules: [
        {name: own, matches: [{path: {value: /a}}], timeouts: {request: 1s}},
        {name: canary, matches: [{path: {value: /b}}]},
        {matches: [{path: {value: /c}}]}]`,
    ) +
    route("other", "parentRefs: [{name: api}], rules: [{matches: [{path: {value: /d}}]}]") +
    policy(
      "service",
      "targetRefs: [{kind: Service, name: api}], timeouts: {request: 9s, backendRequest: 4s}, retry: {attempts: 5, codes: [500]}",
    ) +
    policy(
      "route",
      "targetRefs: [{kind: HTTPRoute, name: r}], timeouts: {request: 8s}, retry: {attempts: 4}",
    ) +
    policy(
      "section",
      "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: canary}, {kind: HTTPRoute, name: r, sectionName: own}], timeouts: {request: 7s, backendRequest: 0s}",
    ) +
    policy(
      "dangling",
      "targetRefs: [{kind: HTTPRoute, name: r, sectionName: gone}, {kind: GRPCRoute, name: r}], timeouts: {request: 1ms}",
    );
  const limits = hostOf(compile(yaml), "api.default")?.routes.map(
    ({ match, timeoutMs, attemptTimeoutMs, retry }) =>
      [match.path.value, timeoutMs, attemptTimeoutMs, retry?.attempts, retry?.codes] as const,
  );
  t.same(limits, [
    ["/a", 1000, undefined, 4, [500]],
    ["/b", 7000, undefined, 4, [500]],
    ["/c", 8000, 4000, 4, [500]],
    ["/d", 9000, 4000, 5, [500]],
  ]);
  const documents = documentsOf(yaml);
  const conditions = conditionsOf({ trustDomain: "mesh.local", catalog: catalogOf(three), documents });
  t.match(conditions.get("TrafficPolicy/default/section"), [
    { type: "Accepted", status: "True" },
    { type: "ResolvedRefs", status: "True" },
  ]);
  t.match(conditions.get("TrafficPolicy/default/dangling"), [
    { type: "Accepted", status: "True" },
    {
      type: "ResolvedRefs",
      status: "False",
      reason: "TargetNotFound",
      message:
        "HTTPRoute/default/r has no rule named gone: the policy waits for it; GRPCRoute/default/r does not exist: the policy waits for it",
    },
  ]);
});

t.test("each limit is known by the document that set it", async (t) => {
  const yaml =
    route(
      "r",
      "parentRefs: [{name: api}], rules: [{name: a, timeouts: {request: 9s}}, {matches: [{method: GET}]}]",
    ) +
    policy(
      "svc",
      "targetRefs: [{kind: Service, name: api}], timeouts: {request: 5s, backendRequest: 4s, streamIdle: 0s}",
    ) +
    policy(
      "rule",
      "targetRefs: [{kind: HTTPRoute, name: r, sectionName: a}], retry: {perTryTimeout: 3s}, timeouts: {streamIdle: 10m}",
    );
  const limits = hostOf(compile(yaml), "api.default")?.routes.map((each) => [
    each.match.method,
    [each.timeoutMs, each.attemptTimeoutMs, each.streamIdleMs],
    each.limitSources,
  ]);
  const [svc, rule] = ["TrafficPolicy/default/svc", "TrafficPolicy/default/rule"];
  t.same(limits, [
    ["GET", [5000, 4000, 0], { request: svc, attempt: svc, streamIdle: svc }],
    [undefined, [9000, 3000, 600_000], { attempt: rule, streamIdle: rule }],
  ]);
  const alone = hostOf(
    compile(policy("p", "targetRefs: [{kind: Service, name: api}], retry: {perTryTimeout: 3s}")),
    "api.default",
  )?.routes[0];
  t.match(alone, { source: "TrafficPolicy/default/p", attemptTimeoutMs: 3000 });
  t.notOk(alone && "limitSources" in alone);
});

t.test("retries: the route's word, then the policy's, then the defaults", async (t) => {
  t.equal(compileRetry(undefined, undefined), undefined);
  t.match(compileRetry({}, undefined), { ...retryDefaults, methods: [...retryDefaults.methods].sort() });
  t.match(compileRetry({ backoff: "1s" }, { backoff: { max: "100ms" } }), {
    baseBackoffMs: 1000,
    maxBackoffMs: 1000,
  });
  t.match(compileRetry(undefined, { backoff: { base: "1s", factor: 3, jitter: "none" } }), {
    backoffFactor: 3,
    jitter: "none",
    baseBackoffMs: 1000,
    maxBackoffMs: 10_000,
  });
  const plain = compileRetry(undefined, { backoff: { factor: 2, jitter: "full" } }) ?? {};
  t.notOk("backoffFactor" in plain || "jitter" in plain, "defaults take no place");
  t.equal(compileRetry(undefined, { on: ["5xx"] })?.codes.length, 100);
  t.same(
    compileRetry(undefined, { on: ["retriable-status-codes", "reset-before-request"], codes: [429] })?.codes,
    [429],
  );
  t.match(compileRetry({ codes: [503, 500, 503] }, { codes: [429] }), { codes: [500, 503] });
});

t.test("endpoints: only healthy ones with an address that may be dialled", async (t) => {
  const instances = [
    instance("ok-1"),
    instance("warn-2", { status: "warning" }),
    instance("crit-3", { status: "critical" }),
    instance("maint-4", { status: "maintenance" }),
    instance("plain-5", { meshPort: undefined, port: 8085 }),
    instance("noport-6", { meshPort: undefined, port: 0 }),
    instance("high-7", { meshPort: 70_000 }),
    instance("metadata-8", { address: "169.254.169.254" }),
    instance("name-9", { address: "evil.example" }),
    instance("twin-1", { meshPort: 15_001 }),
    instance("heavy-10", { weight: 1e9, address: "::1" }),
    instance("light-11", { weight: -3, address: "127.0.0.1" }),
  ];
  const endpoints = (mode: string) =>
    compile(policy("p", `targetRefs: [{kind: Service, name: api}], mtls: {mode: ${mode}}`), web, {
      "api.default": instances,
    })
      .endpoints.get("api.default")
      ?.map((item) => `${item.instance} ${item.port}${item.meshed ? "" : " plain"} ${item.weight}`);
  const withPlain = [
    "plain-5 8085 plain 1",
    "ok-1 15001 1",
    "warn-2 15002 1",
    "light-11 15011 1",
    "heavy-10 15010 65535",
  ];
  t.same(endpoints("PERMISSIVE"), withPlain);
  t.same(endpoints("STRICT"), withPlain, "the caller leaves out those without a sidecar, and can say so");
  t.same(endpoints("DISABLE"), [
    "high-7 8080 plain 1",
    "plain-5 8085 plain 1",
    "light-11 8080 plain 1",
    "heavy-10 8080 plain 65535",
  ]);
});

t.test("addresses", async (t) => {
  const good = ["10.1.2.3", "127.0.0.1", "::1", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::1"];
  const bad = [
    "0.0.0.0",
    "169.254.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "0:0:0:0:0:0:0:0",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "localhost",
    "",
    "1.2.3",
    "10.0.0.1:80",
  ];
  for (const address of good) t.ok(isRoutable(address), address);
  for (const address of bad) t.notOk(isRoutable(address), address);
});

t.test("names that must not become host names stay outside", async (t) => {
  const services = {
    "../x.default": [],
    "Api.default": [],
    "ok.default": [instance("a-1")],
    "a.b.default": [],
  };
  t.same(clusterNames(compile("", everyService, services)), ["ok.default"]);
  t.same(
    refusedServices(catalogOf(services)).map((refused) => refused.service),
    ["../x.default", "Api.default", "a.b.default"],
  );
});

t.test("a host name belongs to the older document, and the younger is told", async (t) => {
  const yaml =
    route(
      "first",
      "parentRefs: [{name: api}], hostnames: [shop.example, web, '*.x.example'], rules: [{backendRefs: [{name: api}]}]",
    ) +
    route(
      "second",
      "parentRefs: [{name: web}], hostnames: [shop.example], rules: [{backendRefs: [{name: gone}]}]",
    ) +
    policy("a", "targetRefs: [{kind: Service, name: api}], timeouts: {request: 1s}") +
    policy(
      "b",
      "targetRefs: [{kind: Service, name: api}, {kind: Service, name: nowhere}], timeouts: {request: 2s}",
    ) +
    policy("c", "targetRefs: [{kind: Service, name: api}]") +
    route("virtual", "parentRefs: [{name: front}], rules: [{backendRefs: [{name: api}]}]");
  const snapshot = compile(yaml, everyService);
  t.ok(hostOf(snapshot, "api.default")?.domains.includes("shop.example"));
  t.ok(hostOf(snapshot, "api.default")?.domains.includes("*.x.example"));
  t.notOk(hostOf(snapshot, "api.default")?.domains.includes("web"), "a service keeps its own name");
  t.notOk(hostOf(snapshot, "web.default")?.domains.includes("shop.example"));
  t.equal(hostOf(snapshot, "api.default")?.routes[0]?.timeoutMs, 1000);
  t.match(hostOf(snapshot, "front.default")?.routes, [
    { action: { backends: [{ cluster: "api.default" }] } },
  ]);

  const documents = documentsOf(yaml);
  const conditions = conditionsOf({ trustDomain: "mesh.local", catalog: catalogOf(three), documents });
  const said = (id: string): readonly string[] =>
    (conditions.get(id) ?? []).map((item) => `${item.type}=${item.status} ${item.reason}: ${item.message}`);
  t.same(said("HTTPRoute/default/first"), [
    "Accepted=True Accepted: the route is in force",
    "ResolvedRefs=True ResolvedRefs: every backend is in the registry",
    "PartiallyInvalid=True HostnameConflict: hostname web is the name of service web.default",
  ]);
  t.same(said("HTTPRoute/default/second"), [
    "Accepted=True Accepted: the route is in force",
    "ResolvedRefs=False BackendNotFound: service gone.default is not in the registry: requests that fall to it are answered with 500",
    "PartiallyInvalid=True HostnameConflict: hostname shop.example belongs to the older HTTPRoute/default/first",
  ]);
  t.same(said("TrafficPolicy/default/b"), [
    "Accepted=True Accepted: the policy is in force",
    "ResolvedRefs=False TargetNotFound: service nowhere.default is not in the registry: the policy waits for it",
    "PartiallyInvalid=True Conflicted: service api.default already has the older TrafficPolicy/default/a",
  ]);
  t.equal(
    said("TrafficPolicy/default/c")[0],
    "Accepted=False Conflicted: service api.default already has the older TrafficPolicy/default/a",
  );
  t.match(said("HTTPRoute/default/virtual")[0], /Accepted=True ParentNotFound: service front.default is not/);
  const [first] = documents;
  if (first === undefined) return void t.fail("no document");
  const shown = withStatus(first, conditions.get(idOf(first.document)) ?? []);
  t.match(parseDocuments(shown, "shown"), [
    { kind: "HTTPRoute", status: { conditions: [{ type: "Accepted" }] } },
  ]);
});

t.test("any mesh compiles to a consistent snapshot whose version is its content's alone", async (t) => {
  const node = fc.record({
    namespace: fc.constantFrom("default", "shop"),
    upstreams: fc.array(fc.constantFrom("api.default", "web.shop", "ghost.default", "cart"), {
      maxLength: 3,
    }),
  });
  const catalog = fc.dictionary(
    fc.constantFrom("api.default", "web.default", "cart.shop", "web.shop", "pay.mesh"),
    fc.array(
      fc.record({
        status: fc.constantFrom("passing", "warning", "critical", "maintenance"),
        meshPort: fc.option(fc.integer({ min: -1, max: 70_000 }), { nil: undefined }),
        address: fc.constantFrom("10.0.0.1", "10.0.0.2", "::1", "169.254.0.1", "x"),
        protocol: fc.constantFrom("http", "grpc"),
      }),
      { maxLength: 4 },
    ),
  );
  fc.assert(
    fc.property(catalog, fc.array(anyDocument, { maxLength: 6 }), node, (services, written, over) => {
      const byId = new Map(
        written
          .flatMap((document) => parseDocuments(stringify(document), "f"))
          .map((document, index): [string, StoredDocument] => [
            idOf(document),
            { document, text: "", file: "", createdAtMs: index % 3 },
          ]),
      );
      const state = catalogOf(
        Object.fromEntries(
          Object.entries(services).map(([key, list]) => [
            key,
            list.map((item, index) => instance(`${key}-${index}`, item as Partial<Instance>)),
          ]),
        ),
      );
      const model: MeshModel = { trustDomain: "mesh.local", catalog: state, documents: [...byId.values()] };
      const shuffled: MeshModel = {
        ...model,
        documents: [...model.documents].reverse(),
        catalog: {
          ...state,
          services: new Map(
            [...state.services]
              .reverse()
              .map(([key, service]) => [key, { ...service, instances: [...service.instances].reverse() }]),
          ),
        },
      };
      const asked = { ...web, ...over };
      const snapshot = compileSnapshot(model, asked);
      assertConsistent(snapshot);
      const again = new MeshCompiler(shuffled).snapshotFor({
        ...asked,
        upstreams: [...asked.upstreams].reverse(),
      });
      conditionsOf(model);
      t.equal(again.version, snapshot.version);
      t.equal(canonicalJson(again), canonicalJson(snapshot));
      const used = new Set(snapshot.virtualHosts.flatMap((host) => host.routes.flatMap(clustersOf)));
      used.delete("");
      for (const { name, failover } of snapshot.clusters)
        if (used.has(name)) for (const behind of failover?.clusters ?? []) used.add(behind);
      t.same(clusterNames(snapshot), [...used].sort(), "exactly what routes refer to, and what is behind it");
    }),
    { numRuns: 150 },
  );
});

t.test(
  "nodes that call the same share its lists; the version tells them apart by what they are",
  async (t) => {
    const compiler = new MeshCompiler({
      trustDomain: "mesh.local",
      catalog: catalogOf(three),
      documents: documentsOf(
        policy("open", "targetRefs: [{group: '', kind: Service, name: api}], mtls: {mode: PERMISSIVE}"),
      ),
    });
    const [one, other, open, elsewhere] = [
      web,
      { ...web, service: "api-v2" },
      { ...web, service: "api" },
      { ...web, namespace: "shop" },
    ].map((node) => compiler.snapshotFor(node));
    for (const list of ["virtualHosts", "clusters", "endpoints"] as const) {
      t.equal(one?.[list], other?.[list]);
      t.equal(one?.[list], open?.[list]);
    }
    t.equal(one?.version, other?.version);
    t.equal(open?.inbound.mtlsMode, "PERMISSIVE");
    t.not(one?.version, open?.version);
    t.notSame(elsewhere?.virtualHosts, one?.virtualHosts, "short names are the namespace's own");
    t.not(elsewhere?.version, one?.version);
  },
);

t.test("an inconsistent snapshot is refused by the path of what is wrong", async (t) => {
  const good = compile("");
  const [host] = good.virtualHosts;
  const [cluster] = good.clusters;
  if (host === undefined || cluster === undefined) return void t.fail("nothing compiled");
  const [first] = host.routes;
  if (first === undefined) return void t.fail("no route");
  const dangling = {
    ...first,
    name: "x",
    action: { type: "forward", backends: [{ cluster: "x", weight: 1 }] },
  } as const;
  const cases: readonly (readonly [Partial<Snapshot>, string])[] = [
    [
      { virtualHosts: [{ ...host, routes: [first, dangling] }] },
      "virtualHosts.api.default.routes.1: cluster x does not exist",
    ],
    [
      { virtualHosts: [{ ...host, routes: [first, first] }] },
      "virtualHosts.api.default.routes.1: route default stands twice",
    ],
    [{ virtualHosts: [host, host] }, "virtualHosts.api.default: stands twice"],
    [
      { virtualHosts: [host, { ...host, name: "b" }] },
      "virtualHosts.b.domains: api already belongs to api.default",
    ],
    [
      { virtualHosts: [{ ...host, domains: ["API"] }] },
      'virtualHosts.api.default.domains: "API" is not in lower case',
    ],
    [{ clusters: [cluster, cluster] }, "clusters.api.default: stands twice"],
    [
      { clusters: [{ ...cluster, identities: [] }] },
      "clusters.api.default.identities: is empty: nobody could be trusted",
    ],
    [{ clusters: [{ ...cluster, maxRequests: 0 }] }, "clusters.api.default.maxRequests: 0 is less than 1"],
    [
      { clusters: [{ ...cluster, connectTimeoutMs: NaN }] },
      "clusters.api.default.connectTimeoutMs: NaN is less than 1",
    ],
    [{ endpoints: new Map([["x", []]]) }, "endpoints.x: cluster x does not exist"],
    [{ version: "" }, "version: is empty"],
  ];
  for (const [change, message] of cases) {
    t.throws(() => assertConsistent({ ...good, ...change }), { name: "ConfigError", message });
  }
});

t.test("endpoint changes go out within 10 ms, documents when they are quiet", async (t) => {
  const clock = new FakeClock();
  const catalog = new LatestValue<CatalogState | undefined>(undefined);
  const documents = new LatestValue<readonly StoredDocument[]>([]);
  const source = new MeshSource({ mesh: { trustDomain: "mesh.local" }, catalog, documents, clock });
  let published = 0;
  source.model.watch(() => published++);
  documents.set(documentsOf(policy("a", "targetRefs: [{kind: Service, name: api}]")));
  clock.advance(5000);
  t.equal(source.model.get(), undefined, "nothing before the registry was read");

  catalog.set(catalogOf({}));
  t.equal(published, 1, "the first model goes out at once");
  t.equal(source.model.get()?.documents.length, 1);

  const next = catalogOf(three);
  catalog.set(catalogOf({ "web.default": [] }));
  clock.advance(9);
  catalog.set(next);
  t.equal(published, 1);
  clock.advance(1);
  t.equal(published, 2);
  t.equal(source.model.get()?.catalog, next);

  documents.set([]);
  clock.advance(50);
  catalog.set(catalogOf({}));
  clock.advance(10);
  t.equal(published, 3, "endpoints do not wait for documents");
  t.equal(source.model.get()?.documents.length, 1, "and do not take unfinished ones along");
  clock.advance(40);
  t.equal(published, 4);
  t.equal(source.model.get()?.documents.length, 0);

  for (let step = 0; step < 20; step++) {
    documents.set([]);
    clock.advance(60);
  }
  t.equal(published, 5, "after a second they wait no longer");
  clock.advance(100);
  t.equal(published, 6);

  catalog.set(catalogOf({}));
  documents.set([]);
  source.close();
  clock.advance(5000);
  t.equal(published, 6);
  t.equal(clock.pendingTimers, 0);
});
