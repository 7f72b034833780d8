import t from "tap";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import { idempotencyDefaults } from "../../../src/config/idempotency-defaults.js";
import type { InboundConfig } from "../../../src/config/inbound-config.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const route = (name: string, spec: string, kind = "HTTPRoute", namespace = "default"): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---
`;
const policy = (name: string, target: string, fields: string): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${name}}
spec: {targetRefs: [${target}], ${fields}}
---
`;
const services = {
  "api.default": [instance("api-1")],
  "api-v2.default": [instance("v2-1")],
  "db.default": [instance("db-1", { protocol: "tcp" })],
};

function inboundOf(service: string, yaml: string): InboundConfig {
  const model = { trustDomain: "mesh.local", catalog: catalogOf(services), documents: documentsOf(yaml) };
  const node = { id: "n", service, namespace: "default", protocol: "http" as const, upstreams: [], zone: "" };
  const snapshot = compileSnapshot(model, node);
  assertConsistent(snapshot);
  return snapshot.inbound;
}

/** `<name> <path>: <limit> <requests>`, one line per rule. */
const linesOf = (service: string, yaml: string): readonly string[] =>
  (inboundOf(service, yaml).rules ?? []).map(
    ({ name, match, rateLimits = [] }) =>
      `${name} ${match.path.value}: ${rateLimits.map((limit) => `${limit.name} ${limit.requests}`).join(", ")}`,
  );

const ofService = policy("svc", "{kind: Service, name: api}", "rateLimit: {requests: 9, per: 1s}");
const routes = route(
  "r",
  `parentRefs: [{name: api}], rules: [
    {name: v2, matches: [{path: {value: /v2}}], backendRefs: [{name: api-v2}]},
    {name: a, matches: [{path: {value: /a}}, {path: {type: Exact, value: /b}}], backendRefs: [{name: api}]},
    {name: c, matches: [{path: {value: /c}}], backendRefs: [{name: api}, {name: api-v2}]},
    {backendRefs: [{name: api}]}]`,
);

t.test("a limit of the service: one rule, with its numbers and the defaults", async (t) => {
  t.same(inboundOf("api", ofService).rules, [
    {
      name: "default",
      match: { path: { type: "prefix", value: "/" }, headers: [], query: [] },
      rateLimits: [
        {
          name: "service api.default",
          source: "TrafficPolicy/default/svc",
          requests: 9,
          perMs: 1000,
          burst: 9,
          keys: [],
          scope: "local",
          onUnavailable: "local",
          status: 429,
          retryAfter: true,
        },
      ],
    },
  ]);
  const full = policy(
    "svc",
    "{kind: Service, name: api}",
    "rateLimit: [{requests: 1, per: 1m, burst: 3, key: [{header: X-Key}, {sourceIdentity: true}], response: {status: 420, retryAfter: false}}, {requests: 2, per: 1h}]",
  );
  t.match(inboundOf("api", full).rules?.[0]?.rateLimits, [
    {
      name: "service api.default #1",
      perMs: 60_000,
      burst: 3,
      keys: [{ type: "header", name: "x-key" }, { type: "sourceIdentity" }],
      status: 420,
      retryAfter: false,
    },
    { name: "service api.default #2", perMs: 3_600_000, burst: 2 },
  ]);
});

t.test("the silence that callers' routes allow is allowed at the called side, too", async (t) => {
  const yaml =
    routes +
    policy("svc", "{kind: Service, name: api}", "timeouts: {streamIdle: 10m}") +
    policy("a", "{kind: HTTPRoute, name: r, sectionName: a}", "timeouts: {streamIdle: 0s}");
  const idles = inboundOf("api", yaml).rules?.map(({ name, streamIdle }) => [name, streamIdle]);
  t.match(idles?.[0], ["httproute/default/r/a/1", { idleMs: 0, source: "TrafficPolicy/default/a" }]);
  t.match(idles?.at(-1), ["default", { idleMs: 600_000, source: "TrafficPolicy/default/svc" }]);
});

t.test("nothing is said where no policy asks for anything", async (t) => {
  t.notOk(
    "rules" in
      inboundOf("api", routes + policy("p", "{kind: Service, name: api}", "timeouts: {request: 1s}")),
  );
  t.notOk("rules" in inboundOf("api-v2", routes + ofService));
  const ofTcp = policy("p", "{kind: Service, name: db}", "rateLimit: {requests: 1, per: 1s}");
  t.notOk("rules" in inboundOf("db", ofTcp), "connections are no requests");
});

t.test("routes without a policy of their own come under that of the service", async (t) => {
  t.same(linesOf("api", routes + ofService), ["default /: service api.default 9"]);
});

t.test("the nearest policy wins for each rule that sends to the service", async (t) => {
  const yaml =
    routes +
    ofService +
    policy("a", "{kind: HTTPRoute, name: r, sectionName: a}", "rateLimit: {requests: 2, per: 1s}") +
    policy("c", "{kind: HTTPRoute, name: r, sectionName: c}", "rateLimit: {requests: 3, per: 1s}");
  t.same(
    linesOf("api", yaml),
    [
      "httproute/default/r/a/1 /b: HTTPRoute/default/r rule a 2",
      "httproute/default/r/a/0 /a: HTTPRoute/default/r rule a 2",
      "httproute/default/r/c/0 /c: HTTPRoute/default/r rule c 3",
      "default /: service api.default 9",
    ],
    "in the order in which callers try them, and without the rule that sends elsewhere",
  );
  t.same(linesOf("api-v2", yaml), [
    "httproute/default/r/v2/0 /v2: ",
    "httproute/default/r/c/0 /c: HTTPRoute/default/r rule c 3",
  ]);
  const whole = routes + policy("w", "{kind: HTTPRoute, name: r}", "rateLimit: {requests: 4, per: 1s}");
  t.same(
    new Set(linesOf("api", whole).map((line) => line.split(": ")[1])),
    new Set(["HTTPRoute/default/r 4"]),
    "the rules of a route share its limit",
  );
});

t.test("calls of a GRPCRoute go first; routes of callers' namespaces do not count", async (t) => {
  const yaml =
    route("r", "parentRefs: [{name: api}], rules: [{backendRefs: [{name: api}]}]") +
    route(
      "g",
      "parentRefs: [{name: api}], rules: [{matches: [{method: {service: a.B}}], backendRefs: [{name: api}]}]",
      "GRPCRoute",
    ) +
    route(
      "consumer",
      "parentRefs: [{name: api, namespace: default}], rules: [{backendRefs: [{name: api, namespace: default}]}]",
      "HTTPRoute",
      "shop",
    ) +
    policy("g", "{kind: GRPCRoute, name: g}", "rateLimit: {requests: 2, per: 1s}") +
    policy("r", "{kind: HTTPRoute, name: r}", "rateLimit: {requests: 3, per: 1s}") +
    policy("x", "{kind: HTTPRoute, name: consumer}", "rateLimit: {requests: 4, per: 1s}").replace(
      "{name: x}",
      "{name: x, namespace: shop}",
    );
  t.same(linesOf("api", yaml), [
    "grpcroute/default/g/#0/0 /a.B/: GRPCRoute/default/g 2",
    "httproute/default/r/#0/0 /: HTTPRoute/default/r 3",
  ]);
  t.equal(inboundOf("api", yaml).rules?.[0]?.match.isGrpc, true);
});

t.test("idempotency: the defaults, and a route's own in place of the service's", async (t) => {
  const yaml =
    policy("svc", "{kind: Service, name: api}", "idempotency: {}") +
    route(
      "r",
      `parentRefs: [{name: api}], rules: [
        {name: pay, matches: [{path: {value: /pay}}, {path: {value: /charge}}], backendRefs: [{name: api}]}]`,
    ) +
    policy(
      "pay",
      "{kind: HTTPRoute, name: r, sectionName: pay}",
      "idempotency: {methods: [PUT], ttl: 90s, required: true, maxBodyBytes: 2KiB, maxRequestBytes: 1MiB, maxEntries: 7, maxStoreBytes: 2MiB, store: redis, onUnavailable: closed}",
    );
  const rules = inboundOf("api", yaml).rules ?? [];
  const ofRoute = {
    ...{ name: "HTTPRoute/default/r rule pay", source: "TrafficPolicy/default/pay", methods: ["PUT"] },
    ...{ ttlMs: 90_000, isRequired: true, maxBodyBytes: 2048, maxRequestBytes: 1024 * 1024 },
    ...{ maxEntries: 7, maxStoreBytes: 2 * 1024 * 1024, store: "redis", onUnavailable: "closed" },
  };
  t.same(
    rules.map(({ match, idempotency }) => [match.path.value, idempotency]),
    [
      ["/charge", ofRoute],
      ["/pay", ofRoute],
      ["/", { ...idempotencyDefaults, name: "service api.default", source: "TrafficPolicy/default/svc" }],
    ],
    "one space of keys for all matches",
  );
});

t.test("silence of tunnels: the service's own policy, at its own sidecars", async (t) => {
  const ofDb = policy("p", "{kind: Service, name: db}", "connectionPool: {tcp: {idleTimeout: 90s}}");
  t.same(inboundOf("db", ofDb).tunnelIdle, { idleMs: 90_000, source: "TrafficPolicy/default/p" });
  t.equal(inboundOf("api", ofDb).tunnelIdle, undefined, "else the sidecar's default");
  const unlimited = inboundOf("db", ofDb.replace("90s", "0s")).tunnelIdle;
  t.match(unlimited, { idleMs: 0 });
});
