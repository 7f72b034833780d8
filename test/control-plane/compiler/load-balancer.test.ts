import t from "tap";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import { conditionsOf } from "../../../control-plane/compiler/conditions.js";
import { parseDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import type { LoadBalancerConfig } from "../../../src/config/load-balancer-config.js";
import type { Snapshot } from "../../../src/config/snapshot.js";
import { decodeSnapshot, encodeSnapshot } from "../../../src/discovery/xds-resources.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const policy = (fields: string): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: p}
spec:
  targetRefs: [{kind: Service, name: api}]
  ${fields}
---
`;
const version = (name: string): { meta: Readonly<Record<string, string>> } => ({ meta: { version: name } });
const services = {
  "api.default": [
    instance("api-1", version("v1")),
    instance("api-2", version("v1")),
    instance("api-3", version("v2")),
  ],
  "db.default": [instance("db-4", { protocol: "tcp" })],
};

/** What a sidecar gets: over the wire and back. */
function snapshotOf(yaml: string): Snapshot {
  const model = { trustDomain: "mesh.local", catalog: catalogOf(services), documents: documentsOf(yaml) };
  const node = {
    id: "n",
    service: "web",
    namespace: "default",
    protocol: "http" as const,
    upstreams: [],
    zone: "",
  };
  const snapshot = compileSnapshot(model, node);
  assertConsistent(snapshot);
  const known = new Map(snapshot.clusters.map(({ name }) => [name, snapshot.endpoints.get(name) ?? []]));
  t.same(decodeSnapshot(encodeSnapshot(snapshot)), { ...snapshot, endpoints: known });
  return snapshot;
}

function loadBalancerOf(yaml: string): LoadBalancerConfig | undefined {
  return snapshotOf(yaml).clusters.find(({ name }) => name === "api.default")?.loadBalancer;
}

t.test("from the document to the sidecar", async (t) => {
  const plain = { policy: "peak_ewma", panicThresholdPercent: 50 };
  t.same(loadBalancerOf(""), plain);
  for (const [fields, expected] of [
    ["slowStart: 30s", { ...plain, slowStartMs: 30_000 }],
    ["policy: random", { ...plain, policy: "random" }],
    ["policy: least_request", { ...plain, policy: "least_request" }],
    ["policy: least_request, choiceCount: 3", { ...plain, policy: "least_request", choiceCount: 3 }],
    [
      "policy: ring_hash, ringHash: {minimumRingSize: 2048}, hashPolicy: [{header: X-User}, {query: q, terminal: true}]",
      {
        ...plain,
        policy: "ring_hash",
        ringHash: { minimumRingSize: 2048, maximumRingSize: 65_536 },
        hashPolicy: [
          { type: "header", name: "x-user", isTerminal: false },
          { type: "query", name: "q", isTerminal: true },
        ],
      },
    ],
    [
      "policy: ring_hash, ringHash: {maximumRingSize: 64}, hashPolicy: [{cookie: {name: s}}]",
      {
        ...plain,
        policy: "ring_hash",
        ringHash: { minimumRingSize: 64, maximumRingSize: 64 },
        hashPolicy: [{ type: "cookie", name: "s", path: "/", isTerminal: false }],
      },
    ],
    [
      "policy: maglev, maglev: {tableSize: 1021}, hashPolicy: [{cookie: {name: s, ttl: 1h, path: /shop}}]",
      {
        ...plain,
        policy: "maglev",
        maglevTableSize: 1021,
        hashPolicy: [{ type: "cookie", name: "s", path: "/shop", ttlMs: 3_600_000, isTerminal: false }],
      },
    ],
  ] as const) {
    t.same(loadBalancerOf(policy(`loadBalancer: {${fields}}`)), expected, fields);
  }
});

const canary = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary}
spec:
  parentRefs: [{name: api}]
  rules: [{backendRefs: [{name: api, subset: v1, weight: 90}, {name: api, subset: v2, weight: 10}]}]
---
`;
const subsets = "subsets: {v1: {meta: {version: v1}}, v2: {meta: {version: v2}}}";
const clusterLines = (snapshot: Snapshot): readonly string[] =>
  snapshot.clusters
    .filter(({ service }) => service === "api")
    .map(
      ({ name, subset, identities, loadBalancer }) =>
        `${name} ${subset} ${identities.join()} ${loadBalancer.policy}: ${(snapshot.endpoints.get(name) ?? [])
          .map((endpoint) => endpoint.instance)
          .join()}`,
    );

t.test("a subset is a cluster of its own, with the identity and the policy of its service", async (t) => {
  const snapshot = snapshotOf(policy(`${subsets}\n  loadBalancer: {policy: random}`) + canary);
  const identity = "spiffe://mesh.local/ns/default/svc/api";
  t.same(clusterLines(snapshot), [
    `api.default|v1 subset v1 (version=v1) ${identity} random: api-1,api-2`,
    `api.default|v2 subset v2 (version=v2) ${identity} random: api-3`,
  ]);
  const route = snapshot.virtualHosts.find(({ name }) => name === "api.default")?.routes[0];
  t.same(route?.action, {
    type: "forward",
    backends: [
      { cluster: "api.default|v1", weight: 90 },
      { cluster: "api.default|v2", weight: 10 },
    ],
  });
});

t.test(
  "a subset that no policy names is answered as an unknown service is, and its route says so",
  async (t) => {
    const yaml = policy("subsets: {v1: {meta: {version: v1}}}") + canary;
    const route = snapshotOf(yaml).virtualHosts.find(({ name }) => name === "api.default")?.routes[0];
    t.match(route?.action, { backends: [{ cluster: "api.default|v1" }, { cluster: "" }] });
    const model = { trustDomain: "mesh.local", catalog: catalogOf(services), documents: documentsOf(yaml) };
    t.match(conditionsOf(model).get("HTTPRoute/default/canary"), [
      {},
      {
        type: "ResolvedRefs",
        status: "False",
        reason: "BackendNotFound",
        message:
          "subset v2 of service api.default is named by no TrafficPolicy: requests that fall to it are answered with 500",
      },
    ]);
  },
);

t.test(
  "requests that name no subset: all instances, those of loadBalancer.subset, or all again",
  async (t) => {
    const linesOf = (fields: string): readonly string[] => clusterLines(snapshotOf(policy(fields)));
    const identity = "spiffe://mesh.local/ns/default/svc/api peak_ewma";
    t.same(linesOf(subsets), [`api.default undefined ${identity}: api-1,api-2,api-3`]);
    t.same(linesOf("loadBalancer: {subset: {version: v2}}"), [
      `api.default subset (version=v2) ${identity}: api-3`,
    ]);
    t.same(linesOf("loadBalancer: {subset: {version: v3}}"), [
      `api.default subset (version=v3) ${identity}: `,
    ]);
    t.same(linesOf("loadBalancer: {subset: {version: v3}, subsetFallback: any}"), [
      `api.default subset (version=v3) ${identity}: api-1,api-2,api-3`,
    ]);
    t.same(linesOf("loadBalancer: {subset: {version: v1, toString: y}}"), [
      `api.default subset (version=v1, toString=y) ${identity}: `,
    ]);
  },
);

t.test("mistakes are refused with their place and reason", async (t) => {
  for (const [fields, error] of [
    [
      "policy: ring_hsh",
      '6:26: spec.loadBalancer.policy: unknown value "ring_hsh", expected one of peak_ewma, least_request, round_robin, random, ring_hash, maglev; did you mean "ring_hash"?',
    ],
    [
      "policy: maglev",
      "6:26: spec.loadBalancer.policy: maglev needs hashPolicy: without a key every request goes to a random endpoint",
    ],
    [
      "hashPolicy: [{header: x}]",
      "6:30: spec.loadBalancer.hashPolicy: is read by the policies ring_hash and maglev alone: set policy to one of them",
    ],
    [
      "choiceCount: 3",
      "6:31: spec.loadBalancer.choiceCount: is read by policy least_request alone, and the policy is the default, peak_ewma",
    ],
    ["policy: least_request, choiceCount: 1", "6:54: spec.loadBalancer.choiceCount: must be at least 2"],
    [
      "policy: maglev, maglev: {tableSize: 1000}, hashPolicy: [{header: x}]",
      "6:54: spec.loadBalancer.maglev.tableSize: 1000 is no prime: take 1009, or leave it out",
    ],
    [
      "policy: ring_hash, ringHash: {minimumRingSize: 9, maximumRingSize: 8}, hashPolicy: [{header: x}]",
      "6:65: spec.loadBalancer.ringHash.minimumRingSize: 9 is more than maximumRingSize 8",
    ],
    [
      "policy: ring_hash, hashPolicy: [{header: x, query: q}]",
      "6:50: spec.loadBalancer.hashPolicy.0: needs one of header, cookie, query, sourceIdentity, sourceIP, and has header and query; write an entry for each",
    ],
    [
      "policy: ring_hash, hashPolicy: [{terminal: true}]",
      "6:50: spec.loadBalancer.hashPolicy.0: needs one of header, cookie, query, sourceIdentity, sourceIP, and has none; write an entry for each",
    ],
    [
      "policy: ring_hash, hashPolicy: [{header: a}, {header: A}]",
      "6:72: spec.loadBalancer.hashPolicy.1.header: header a is named twice",
    ],
    [
      "policy: ring_hash, hashPolicy: [{cookie: {name: a b}}]",
      '6:66: spec.loadBalancer.hashPolicy.0.cookie.name: "a b" is not valid: a header name is a token (RFC 9110 §5.6.2)',
    ],
    [
      "policy: ring_hash, hashPolicy: [{sourceIP: false}]",
      "6:61: spec.loadBalancer.hashPolicy.0.sourceIP: must be true; leave it out otherwise",
    ],
    [
      "policy: ring_hash, hashPolicy: [{sourceIdentity: true}, {sourceIdentity: true}]",
      "6:91: spec.loadBalancer.hashPolicy.1.sourceIdentity: source sourceIdentity is named twice",
    ],
    ["subset: {}", "6:26: spec.loadBalancer.subset: must name at least one entry of the metadata"],
    ["subsets: {v1: {meta: {}}}", "6:24: spec.subsets.v1.meta: must name at least one entry of the metadata"],
    [
      "subsets: {V_1: {meta: {a: b}}}",
      '6:13: spec.subsets: "V_1" is not valid: a subset\'s name is up to 63 of a-z, 0-9 and -, with a letter or digit at both ends',
    ],
    ["slowStart: 0s", "6:29: spec.loadBalancer.slowStart: must be longer than 0s"],
  ] as const) {
    const text = policy(fields.startsWith("subsets") ? fields : `loadBalancer: {${fields}}`);
    let found = "accepted";
    try {
      parseDocuments(text, "f.yaml");
    } catch (thrown: unknown) {
      found = (thrown as Error).message;
    }
    t.equal(found, `f.yaml:${error}`, fields);
  }
});
