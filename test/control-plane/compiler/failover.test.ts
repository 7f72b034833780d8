/** Zones and failover in documents and in the registry: what becomes of them in a snapshot, and on the wire. */
import t from "tap";
import { mergeInstances, readHealthEntries } from "../../../control-plane/catalog/consul-health.js";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import { warningsOf } from "../../../control-plane/compiler/condition.js";
import { conditionsOf } from "../../../control-plane/compiler/conditions.js";
import type { OtherDatacenters } from "../../../control-plane/catalog/other-datacenters.js";
import type { MeshModel } from "../../../control-plane/compiler/mesh-model.js";
import type { MeshNode } from "../../../control-plane/compiler/node.js";
import { planApply } from "../../../control-plane/policy-store/apply-plan.js";
import { parseDocuments, parseYamlDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import type { Snapshot } from "../../../src/config/snapshot.js";
import { decodeSnapshot, encodeSnapshot } from "../../../src/discovery/xds-resources.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const web: MeshNode = {
  id: "web-1",
  service: "web",
  namespace: "default",
  protocol: "http",
  upstreams: ["api.default"],
  zone: "a",
};

const policy = (spec: string, service = "api"): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: ${service}}
spec:
  targetRefs: [{kind: Service, name: ${service}}]
${spec.replace(/^/gm, "  ")}
---
`;

const services = {
  "web.default": [instance("web-1")],
  "api.default": [
    instance("api-1", { zone: "a" }),
    instance("api-2", { zone: "b" }),
    instance("api-3", { zone: "a", status: "critical" }),
    instance("api-4", { zone: "b", status: "maintenance" }),
  ],
};

/** As a sidecar gets it: compiled, checked, over the wire. */
function compile(
  yaml: string,
  registry: Parameters<typeof catalogOf>[0] = services,
  more: Partial<MeshModel> = {},
): Snapshot {
  const snapshot = compileSnapshot(
    { trustDomain: "mesh.local", catalog: catalogOf(registry), documents: documentsOf(yaml), ...more },
    web,
  );
  assertConsistent(snapshot);
  const received = decodeSnapshot(encodeSnapshot(snapshot));
  t.same(received.clusters, snapshot.clusters, "the wire changes nothing");
  return received;
}

/** What an apply is refused with. */
function refusal(yaml: string): string {
  try {
    parseDocuments(yaml, "p.yaml");
  } catch (error) {
    return String(error);
  }
  return "";
}

t.test("zones: a preference is off unless asked for, and then failing instances are told too", async (t) => {
  const instances = (snapshot: Snapshot) =>
    (snapshot.endpoints.get("api.default") ?? []).map(
      (endpoint) => `${endpoint.instance} ${endpoint.zone}${endpoint.isDown === true ? " down" : ""}`,
    );
  const plain = compile("");
  t.notOk(plain.clusters[0]?.locality);
  t.same(instances(plain), ["api-1 a", "api-2 b"]);
  t.notOk(compile(policy("loadBalancer: {locality: {preferLocal: false}}")).clusters[0]?.locality);
  const preferring = compile(policy("loadBalancer: {locality: {preferLocal: true}}"));
  t.same(preferring.clusters[0]?.locality, { spilloverPercent: 70 });
  t.same(instances(preferring), ["api-1 a", "api-2 b", "api-3 a down", "api-4 b down"]);
  const half = compile(policy("loadBalancer: {locality: {preferLocal: true, spillover: 50}}"));
  t.same(half.clusters[0]?.locality, { spilloverPercent: 50 });
});

t.test("zones: of two instances at one address the one that serves counts", async (t) => {
  const { endpoints } = compile(policy("loadBalancer: {locality: {preferLocal: true}}"), {
    ...services,
    "api.default": [instance("api-1", { id: "old", status: "critical" }), instance("api-1", { id: "p-new" })],
  });
  t.match(endpoints.get("api.default"), [{ instance: "p-new", isDown: undefined }]);
  t.equal(endpoints.get("api.default")?.length, 1);
});

t.test("zones: contradictions are refused with their place", async (t) => {
  const text = policy("loadBalancer:\n  locality:\n    spillover: 60");
  t.match(
    refusal(text),
    /p\.yaml:8:18: spec\.loadBalancer\.locality\.spillover: has no effect without preferLocal/,
  );
  t.match(refusal(policy("loadBalancer: {locality: {preferLocal: true, spillover: 101}}")), /spillover/);
});

t.test("zones: Consul has them at the service or at its node, as metadata or as locality", async (t) => {
  const entry = (id: string, service: object, node: object) => ({
    Node: { Node: "n1", Address: "10.0.0.1", ...node },
    Service: { ID: id, Service: "api", Port: 80, ...service },
    Checks: [],
  });
  const entries = readHealthEntries([
    entry("1", { Meta: { zone: "own" } }, { Meta: { zone: "node" } }),
    entry("2", {}, { Meta: { zone: "node" } }),
    entry("3", { Locality: { Region: "eu", Zone: "eu-1" } }, { Meta: { zone: "node" } }),
    entry("4", {}, { Locality: { Region: "eu", Zone: "eu-2" } }),
    entry("5", {}, {}),
  ]);
  const { instances } = mergeInstances("api", entries ?? [], [], () => undefined);
  t.same(
    instances.map(({ zone }) => zone),
    ["own", "node", "eu-1", "eu-2", ""],
  );
});

const backup = { ...services, "backup.default": [instance("b-9")], "last.shop": [instance("l-8")] };

t.test("failover: the services behind a service are clusters of their own, with its policies", async (t) => {
  const { clusters, virtualHosts, endpoints } = compile(
    policy("failover: [{service: backup}, {service: last, namespace: shop}, {service: ghost}]") +
      policy("connectionPool: {maxRequests: 7}", "backup"),
    backup,
  );
  const [api, behind] = clusters;
  t.same(
    clusters.map(({ name }) => name),
    ["api.default", "backup.default", "ghost.default", "last.shop"],
  );
  t.same(api?.failover, {
    clusters: ["backup.default", "last.shop", "ghost.default"],
    thresholdPercent: 50,
  });
  t.equal(api?.breaker.maxEjectionPercent, 100, "none has to be kept");
  t.match(behind, {
    breaker: { maxEjectionPercent: 50 },
    maxRequests: 7,
    identities: ["spiffe://mesh.local/ns/default/svc/backup"],
  });
  t.equal(endpoints.get("backup.default")?.length, 1);
  t.same(
    virtualHosts.map(({ name }) => name),
    ["api.default"],
    "nobody can call them by name for that",
  );
});

t.test(
  "failover: the threshold is the panic threshold unless it is given, and then failing ones count",
  async (t) => {
    const of = (more: string) => {
      const { clusters, endpoints } = compile(policy(`failover: [{service: backup}]\n${more}`), backup);
      return [clusters[0]?.failover?.thresholdPercent, endpoints.get("api.default")?.length];
    };
    t.same(of(""), [50, 2]);
    t.same(of("loadBalancer: {locality: {panicThreshold: 20}}"), [20, 2]);
    t.same(of("failoverThreshold: 0"), [0, 4]);
    t.same(of("failoverThreshold: 80"), [80, 4]);
  },
);

t.test("failover: a service of bytes does not stand behind one of requests", async (t) => {
  const yaml = policy("failover: [{service: backup}]");
  const registry = { ...backup, "backup.default": [instance("b-9", { protocol: "tcp" })] };
  t.notOk(compile(yaml, registry).clusters[0]?.failover);
  const told = (registry: Parameters<typeof catalogOf>[0]) =>
    conditionsOf({ trustDomain: "m", catalog: catalogOf(registry), documents: documentsOf(yaml) })
      .get("TrafficPolicy/default/api")
      ?.find(({ type }) => type === "ResolvedRefs");
  t.match(told(registry), {
    reason: "UnsupportedProtocol",
    message: /service backup\.default speaks another/,
  });
  t.match(told(services), {
    reason: "BackendNotFound",
    message: /service backup\.default is not in the reg/,
  });
  t.match(told(backup), { status: "True" });
});

/** What dc1's control plane knows of dc2, which it can read, and of dc3, which it cannot. */
const far = (registry: Parameters<typeof catalogOf>[0]): { readonly datacenters: OtherDatacenters } => ({
  datacenters: {
    own: "dc1",
    others: new Map([
      ["dc2", { ...catalogOf(registry), isRead: true }],
      ["dc3", { services: new Map(), isRead: false, staleSince: { wallMs: 0, reason: "No path to dc3" } }],
    ]),
  },
});
const farApi = far({ "api.default": [instance("api-21", { meta: { version: "v2" } }), instance("api-22")] });

t.test(
  "failover: another datacenter is a cluster of its own, with the identity and policy of the service",
  async (t) => {
    const yaml = policy(
      "failover: [{datacenter: dc2}, {service: backup}, {service: backup, datacenter: dc2}]\nconnectionPool: {maxRequests: 7}",
    );
    const { clusters, endpoints, virtualHosts } = compile(yaml, backup, farApi);
    t.same(
      clusters.map(({ name }) => name),
      ["api.default", "api.default@dc2", "backup.default", "backup.default@dc2"],
    );
    const [api, other] = clusters;
    t.same(api?.failover?.clusters, ["api.default@dc2", "backup.default", "backup.default@dc2"]);
    t.match(other, {
      ...{ service: "api", namespace: "default", datacenter: "dc2", maxRequests: 7, failover: undefined },
      identities: ["spiffe://mesh.local/ns/default/svc/api"],
      breaker: { maxEjectionPercent: 50 },
    });
    t.same(
      endpoints.get("api.default@dc2")?.map(({ instance, port }) => `${instance} ${port}`),
      ["api-21 15021", "api-22 15022"],
    );
    t.same(endpoints.get("backup.default@dc2"), [], "it has none there");
    t.same(
      virtualHosts.map(({ name }) => name),
      ["api.default"],
    );
    const consul = compile(yaml, backup, { ...farApi, datacenter: "dc1" }).clusters;
    t.same(
      consul.slice(0, 2).map(({ identities }) => identities),
      [["spiffe://mesh.local/ns/default/dc/dc1/svc/api"], ["spiffe://mesh.local/ns/default/dc/dc2/svc/api"]],
      "Consul's CA names the datacenter",
    );
  },
);

t.test("failover: the own datacenter is none to fail over to, so one policy fits all", async (t) => {
  const yaml = policy("failover: [{datacenter: dc1}, {datacenter: dc2}, {service: backup, datacenter: dc1}]");
  const { clusters } = compile(yaml, backup, farApi);
  t.same(clusters[0]?.failover?.clusters, ["api.default@dc2", "backup.default"]);
  t.notOk(compile(policy("failover: [{datacenter: dc1}]"), backup, farApi).clusters[0]?.failover);
});

t.test("failover: a subset stays one in another datacenter", async (t) => {
  const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec: {parentRefs: [{kind: Service, name: api}], rules: [{backendRefs: [{name: api, subset: v2}]}]}
`;
  const yaml = policy(
    "failover: [{datacenter: dc2}, {service: backup}]\nsubsets: {v2: {meta: {version: v2}}}",
  );
  const { clusters, endpoints } = compile(yaml + route, backup, farApi);
  t.same(clusters[0]?.failover?.clusters, ["api.default|v2@dc2", "backup.default"]);
  t.equal(clusters[1]?.subset, "subset v2 (version=v2)");
  t.same(
    endpoints.get("api.default|v2@dc2")?.map(({ instance }) => instance),
    ["api-21"],
  );
});

t.test("failover: a service that is in another datacenter only can be called here", async (t) => {
  const yaml = policy("failover: [{datacenter: dc2}]");
  const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec: {parentRefs: [{kind: Service, name: api}], rules: [{backendRefs: [{name: api}]}]}
`;
  const here = { "web.default": [instance("web-1")] };
  const { clusters, virtualHosts, endpoints } = compile(yaml + route, here, farApi);
  t.match(clusters, [{ name: "api.default" }, { name: "api.default@dc2" }]);
  t.match(virtualHosts, [{ routes: [{ action: { backends: [{ cluster: "api.default" }] } }] }]);
  t.same(
    [...endpoints].map(([name, { length }]) => `${name} ${length}`),
    ["api.default 0", "api.default@dc2 2"],
  );
  t.match(compile(yaml + route, here).virtualHosts, [
    { routes: [{ action: { backends: [{ cluster: "" }] } }] },
  ]);
  const tcp = far({ "api.default": [instance("api-21", { protocol: "tcp" })] });
  t.match(
    compile(yaml, here, tcp).clusters.map(({ protocol }) => protocol),
    ["tcp", "tcp"],
    "it speaks what its instances there do",
  );
});

t.test("failover: why nothing fails over to a datacenter is told", async (t) => {
  const told = (failover: string, model: Partial<MeshModel>) =>
    warningsOf(
      conditionsOf({
        ...{ trustDomain: "m", catalog: catalogOf(backup), ...model },
        documents: documentsOf(policy(`failover: [${failover}]`)),
      }).get("TrafficPolicy/default/api") ?? [],
    );
  const table: [failover: string, model: Partial<MeshModel>, expected: readonly (RegExp | string)[]][] = [
    ["{datacenter: dc2}", farApi, []],
    ["{datacenter: dc1}, {service: backup, datacenter: dc1}", farApi, []],
    [
      "{datacenter: dc2}",
      {},
      [/^datacenter dc2: the embedded registry has no datacenters; start .* --consul/],
    ],
    ["{datacenter: dc3}", farApi, [/^datacenter dc3 cannot be read, and nothing fails .*: No path to dc3$/]],
    ["{datacenter: dc4}", farApi, [/^datacenter dc4 was not read yet: nothing fails over to it/]],
    [
      "{service: backup, datacenter: dc2}",
      farApi,
      [/^service backup\.default is not in datacenter dc2: nothing/],
    ],
    [
      "{datacenter: dc4}, {service: ghost}",
      farApi,
      [/^service ghost\.default is not .*; datacenter dc4 was not/],
    ],
  ];
  for (const [failover, model, expected] of table) t.match(told(failover, model), expected, failover);
  t.same(told("{datacenter: dc2}", farApi), []);
  const others = new Map(
    Array.from({ length: 8 }, (_, n) => [`far-${n}`, { ...catalogOf({}), isRead: true }] as const),
  );
  t.match(told("{datacenter: dc2}", { datacenters: { own: "dc1", others } }), [
    /more than the 8 that one control/,
  ]);
});

t.test("failover: contradictions are refused with their place", async (t) => {
  const table = [
    [
      "failover: [{service: api}]",
      /p\.yaml:6:24: spec\.failover\.0\.service: api\.default is the service that/,
    ],
    [
      "failover: [{service: b}, {service: b}]",
      /6:38: spec\.failover\.1\.service: service b\.default is named twice/,
    ],
    ["failoverThreshold: 20", /6:22: spec\.failoverThreshold: has no effect without failover/],
    ["failover: []", /spec\.failover: must name at least one/],
    ["failover: [{}]", /spec\.failover\.0/],
    [
      "failover: [{namespace: shop, datacenter: dc2}]",
      /failover\.0: namespace is that of service, which is missing/,
    ],
    ["failover: [{datacenter: DC2}]", /failover\.0\.datacenter: "DC2" is not valid/],
    [
      "failover: [{datacenter: dc2}, {service: api, datacenter: dc2}]",
      /spec\.failover\.1\.service: service api\.default in datacenter dc2 is named twice/,
    ],
  ] as const;
  for (const [spec, expected] of table) t.match(refusal(policy(spec)), expected, spec);
});

t.test("failover: a circle is refused, whether in one file or with what is stored", async (t) => {
  const to = (from: string, target: string): string => policy(`failover: [{service: ${target}}]`, from);
  const plan = (yaml: string, stored = "") => {
    const options = { fileName: "p.yaml", nowMs: 0 };
    return planApply(parseYamlDocuments(yaml, "p.yaml"), documentsOf(stored), options);
  };
  t.throws(
    () => plan(to("a", "b"), to("b", "c") + to("c", "a")),
    /p\.yaml:6:24: spec\.failover\.0\.service: a circle: a\.default fails over to b\.default fails over to c\.default fails over to a\.default/,
  );
  t.throws(() => plan(to("a", "b") + to("b", "a")), /a circle/);
  const away = policy("failover: [{service: b, datacenter: dc2}, {datacenter: dc2}]", "a");
  t.equal(plan(away, to("b", "a")).length, 1, "nobody is behind another datacenter");
  t.equal(plan(to("a", "c"), to("b", "c") + to("c", "d")).length, 1);
  t.equal(plan(to("b", "c"), to("a", "b") + to("b", "a")).length, 1, "what replaces the circle breaks it");
});

t.test("health checks: each with its defaults, over the wire and back", async (t) => {
  const { clusters } = compile(
    policy(`healthChecks:
- http: {path: /health}
- http: {path: "/deep?x=1", method: HEAD, expectedStatuses: [204, "300-399"], host: "a.example:8080"}
  interval: 500ms
  unhealthyInterval: 100ms
  unhealthyThreshold: 1
  healthyThreshold: 5
  initial: unhealthy`),
  );
  const common = { intervalMs: 10_000, unhealthyIntervalMs: 10_000, timeoutMs: 1000 };
  t.same(clusters[0]?.healthChecks, [
    {
      probe: { type: "http", method: "GET", path: "/health", host: "api.default", statuses: [[200, 200]] },
      ...{ ...common, unhealthyThreshold: 3, healthyThreshold: 2, initial: "healthy" },
    },
    {
      probe: {
        ...{ type: "http", method: "HEAD", path: "/deep?x=1", host: "a.example:8080" },
        statuses: [
          [204, 204],
          [300, 399],
        ],
      },
      ...{ intervalMs: 500, unhealthyIntervalMs: 100, timeoutMs: 500 },
      ...{ unhealthyThreshold: 1, healthyThreshold: 5, initial: "unhealthy" },
    },
  ]);
});

t.test("health checks: one that a service cannot answer is not made, and the policy says so", async (t) => {
  const yaml = policy("healthChecks: [{grpc: {service: shop.Cart}}, {tcp: {}}, {http: {path: /}}]");
  const made = (protocol: "http" | "grpc" | "tcp") => {
    const registry = { "web.default": [], "api.default": [instance("api-1", { protocol })] };
    const model = { trustDomain: "m", catalog: catalogOf(registry), documents: documentsOf(yaml) };
    const told = conditionsOf(model)
      .get("TrafficPolicy/default/api")
      ?.filter(({ type }) => type === "PartiallyInvalid");
    return [
      compile(yaml, registry).clusters[0]?.healthChecks?.map(({ probe }) => probe.type),
      told?.[0]?.message,
    ];
  };
  t.match(made("http"), [
    ["http"],
    "its grpc check is not made; service api.default speaks http: its tcp check",
  ]);
  t.match(made("grpc"), [["grpc", "http"], /speaks grpc: its tcp check/]);
  t.match(made("tcp"), [["tcp"], /its grpc check.*its http check/]);
});

t.test("what works otherwise than it seems to: told in conditions", async (t) => {
  const route = (rule: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec: {parentRefs: [{kind: Service, name: api}], rules: [{backendRefs: [{name: api}], ${rule}}]}
`;
  const late = (attempts: number, requestS: number, last: number): string =>
    `AttemptsCutShort: ${attempts} attempts of 2s each do not fit into timeouts.request (${requestS}s): when attempts time out, the request ends during attempt ${last}`;
  type Case = [
    yaml: string,
    expected?: string | undefined,
    registry?: { protocol?: "http" | "tcp"; count?: number },
  ];
  const table: Case[] = [
    [policy("retry: {attempts: 3, perTryTimeout: 2s}\ntimeouts: {request: 5s}"), late(4, 5, 3)],
    [policy("retry: {attempts: 3, perTryTimeout: 1s}\ntimeouts: {request: 4s}")],
    [policy("retry: {attempts: 3}\ntimeouts: {request: 4s}")],
    [policy("retry: {on: [5xx]}\ntimeouts: {request: 3s, backendRequest: 2s}"), late(2, 3, 2)],
    [
      route("retry: {attempts: 1}, timeouts: {request: 3s, backendRequest: 2s}"),
      late(2, 3, 2).replace(": 2 att", ": rule #0: 2 att"),
    ],
    [route("retry: {attempts: 1}, timeouts: {request: 4s, backendRequest: 2s}")],
    [policy("rateLimit: {requests: 1, per: 1s}")],
    [
      policy("rateLimit: {requests: 1, per: 1s}"),
      "UnsupportedProtocol: service api.default speaks tcp: rateLimit has no effect on it",
      { protocol: "tcp" },
    ],
    [
      policy("timeouts: {request: 1s}\nfallback: {reply: {status: 200}}\nconnectionPool: {maxRequests: 3}"),
      "UnsupportedProtocol: service api.default speaks tcp: timeouts, fallback have no effect on it",
      { protocol: "tcp" },
    ],
    [
      policy("hedge: {delay: 2s}\ntimeouts: {request: 1s}"),
      "NeverReached: hedge.delay (2s) is not shorter than timeouts.request (1s): no second attempt is made",
    ],
    [policy("hedge: {delay: 2s}\ntimeouts: {request: 3s, backendRequest: 1s}")],
    [
      policy("outlierDetection: {slowCalls: {threshold: 1s}}\nretry: {perTryTimeout: 1s}"),
      "NeverReached: outlierDetection.slowCalls.threshold (1s) is not shorter than retry.perTryTimeout (1s): no attempt lasts long enough to be slow",
    ],
    [
      policy("circuitBreaker: {slowCalls: {threshold: 9s}}\ntimeouts: {request: 2s}"),
      "NeverReached: circuitBreaker.slowCalls.threshold (9s) is not shorter than timeouts.request (2s): no request lasts long enough to be slow",
    ],
    [policy("circuitBreaker: {slowCalls: {threshold: 1s}}\ntimeouts: {request: 2s}")],
    [
      policy("bulkheads: {batch: {maxWait: 2s}}\ntimeouts: {request: 2s}"),
      "NeverReached: bulkheads.batch.maxWait (2s) is not shorter than timeouts.request (2s): whoever waits so long has no time left",
    ],
    [
      policy("retry: {codes: [503]}\nretryBudget: {percent: 0, minRetriesPerSecond: 0}"),
      "NeverReached: retryBudget pays for no retry at all: percent and minRetriesPerSecond are 0",
    ],
    [policy("retryBudget: {percent: 0, minRetriesPerSecond: 0}")],
    [policy("outlierDetection: {successRate: {minimumRatio: 0.5, requestVolume: 9}}")],
    [policy("outlierDetection: {successRate: {minimumHosts: 3}}"), undefined, { count: 5 }],
    [policy("outlierDetection: {successRate: {stdevFactor: 1}}"), undefined, { count: 5 }],
    ...(
      [
        ["minimumHosts: 3", 5, "minimumHosts 3, stdevFactor 1.9", 4],
        ["stdevFactor: 1", 5, "minimumHosts 5, stdevFactor 1", 4],
        ["stdevFactor: 3", 11, "minimumHosts 5, stdevFactor 3", 10],
      ] as const
    ).map(([fields, needed, both, count]): Case => [
      policy(`outlierDetection: {successRate: {${fields}}}`),
      `NeverReached: outlierDetection.successRate finds an outlier among ${needed} instances or more (${both}), and service api.default has ${count}: nobody is ejected by it`,
      { count },
    ]),
    [policy("mtls: {mode: STRICT, peerIdentity: ['spiffe://m/ns/default/svc/api', 'spiffe://o/api']}")],
    [
      policy("mtls: {mode: STRICT, peerIdentity: ['spiffe://o/api']}"),
      "SidecarsRefused: mtls.peerIdentity does not name spiffe://m/ns/default/svc/api, which the sidecars of this mesh prove: instances that have one are refused",
    ],
    [policy("idempotency: {}")],
    [policy("idempotency: {store: redis}"), undefined, { count: 2 }],
    [
      policy("idempotency: {}"),
      "KeysNotShared: service api.default has 2 instances, and with idempotency.store memory each knows only the keys that it has met: a repetition that reaches another one is executed again; store: redis is for all together",
      { count: 2 },
    ],
  ];
  for (const [yaml, expected, { protocol = "http", count = 1 } = {}] of table) {
    const instances = Array.from({ length: count }, (_, n) => instance(`api-${n}`, { protocol }));
    const catalog = catalogOf({ "api.default": instances });
    const [conditions = []] = [
      ...conditionsOf({ trustDomain: "m", catalog, documents: documentsOf(yaml) }).values(),
    ];
    const told = conditions.filter(({ type }) => type === "Surprising" || type === "PartiallyInvalid");
    t.same(
      told.map(({ reason, message }) => `${reason}: ${message}`),
      expected === undefined ? [] : [expected],
      yaml,
    );
    const messages = told.map(({ message }) => message);
    t.same(
      warningsOf(conditions),
      messages,
      "an operator hears of these at once, and of nothing that is well",
    );
  }
});

t.test("health checks: contradictions are refused with their place", async (t) => {
  const table = [
    ["healthChecks: [{}]", /spec\.healthChecks\.0: must have one of http, grpc, tcp/],
    ["healthChecks: [{tcp: {}, http: {path: /}}]", /must have one of/],
    ["healthChecks: [{http: {path: health}}]", /path: must begin with \//],
    ["healthChecks: [{http: {path: /, expectedStatuses: [99]}}]", /expectedStatuses\.0/],
    ["healthChecks: [{http: {path: /, expectedStatuses: ['299-200']}}]", /"299-200" ends before it begins/],
    [
      "healthChecks: [{http: {path: /}, timeout: 5s, interval: 2s}]",
      /timeout: 5s is longer than interval \(2s\)/,
    ],
    [
      "protocol: http\nhealthChecks: [{grpc: {}}]",
      /healthChecks\.0\.grpc: is not for protocol: http, which has http/,
    ],
    ["protocol: tcp\nhealthChecks: [{http: {path: /}}]", /is not for protocol: tcp, which has tcp/],
    ["healthChecks: []", /healthChecks/],
  ] as const;
  for (const [spec, expected] of table) t.match(refusal(policy(spec)), expected, spec);
});
