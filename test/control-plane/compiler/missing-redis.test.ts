import t from "tap";
import { warningsOf } from "../../../control-plane/compiler/condition.js";
import { conditionsOf } from "../../../control-plane/compiler/conditions.js";
import type { StoreUser } from "../../../control-plane/compiler/missing-redis.js";
import { encodeNode, decodeNode, type SidecarNode } from "../../../src/discovery/node.js";
import { Fields } from "../../../src/discovery/fields.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const policy = (target: string, spec: string): string => `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: p}
spec: {targetRefs: [${target}], ${spec}}
`;
const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: api}]
  rules:
  - {name: a, backendRefs: [{name: api}, {name: api-v2}]}
  - {name: b, backendRefs: [{name: web}]}
`;
const service = (name: string): string => `{kind: Service, name: ${name}}`;
const global = (rest = ""): string => `rateLimit: {requests: 1, per: 1s, scope: global${rest}}`;
const told = (key: string, counts: string, what: string): string =>
  `service ${key}: ${counts} connected sidecars without --redis-url, where onUnavailable holds for good: ${what}`;
const local = "rateLimit of scope global: each instance counts for itself";

t.test("what is counted in Redis at sidecars without one: told", async (t) => {
  const sidecar = (name: string, hasRedis: boolean | null): StoreUser => ({
    service: name,
    namespace: "default",
    hasRedis,
  });
  const sidecars = [
    ...[sidecar("api", true), sidecar("api", false), sidecar("api", null)],
    ...[sidecar("api-v2", false), sidecar("web", true)],
  ];
  const table: readonly (readonly [yaml: string, ...expected: readonly string[]])[] = [
    [policy(service("api"), global()), told("api.default", "1 of 3", local)],
    [policy(service("web"), global())],
    [policy(service("nobody"), global())],
    [policy(service("api"), "rateLimit: {requests: 1, per: 1s}")],
    [policy(service("api"), "idempotency: {store: memory}")],
    [
      policy(service("api"), "idempotency: {store: redis, onUnavailable: closed}"),
      told(
        "api.default",
        "1 of 3",
        "idempotency with store redis: requests with an Idempotency-Key are refused",
      ),
    ],
    [
      policy(
        service("api-v2"),
        "rateLimit: [{requests: 1, per: 1s}, {requests: 1, per: 1h, scope: global, onUnavailable: open}], idempotency: {store: redis}",
      ),
      told(
        "api-v2.default",
        "1 of 1",
        "rateLimit #2 of scope global: it lets every request through; idempotency with store redis: each instance remembers for itself",
      ),
    ],
    [
      policy("{kind: HTTPRoute, name: r}", global(", onUnavailable: closed")) + route,
      told("api-v2.default", "1 of 1", "rateLimit of scope global: it refuses every request"),
      told("api.default", "1 of 3", "rateLimit of scope global: it refuses every request"),
    ],
    [policy("{kind: HTTPRoute, name: r, sectionName: b}", global()) + route],
    [policy("{kind: HTTPRoute, name: gone}", global())],
  ];
  const catalog = catalogOf({
    "api.default": [instance("api-1")],
    "api-v2.default": [instance("v2-1")],
    "web.default": [instance("web-1")],
  });
  for (const [yaml, ...expected] of table) {
    const model = { trustDomain: "m", catalog, documents: documentsOf(yaml) };
    const found = (conditionsOf(model, sidecars).get("TrafficPolicy/default/p") ?? []).filter(
      ({ reason }) => reason === "RedisMissing",
    );
    t.same(warningsOf(found), expected, yaml);
  }
});

t.test("a sidecar says whether it has a Redis; one of before says nothing", async (t) => {
  const node = {
    id: "n",
    service: "api",
    namespace: "default",
    protocol: "http",
    upstreams: [],
    zone: "",
  } as const;
  const read = (sent: SidecarNode): SidecarNode => decodeNode(new Fields(encodeNode(sent), "node", ""));
  for (const hasRedis of [true, false]) t.same(read({ ...node, hasRedis }), { ...node, hasRedis });
  t.same(read(node), node);
});
