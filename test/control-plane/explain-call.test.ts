import t from "tap";
import { explainCall, type AskedCall } from "../../control-plane/explain/explain-call.js";
import { catalogOf, documentsOf, instance } from "../support/mesh-model.js";

const catalog = catalogOf({
  "api.default": [instance("api-1"), instance("api-2", { meta: { version: "2" } })],
  "web.default": [instance("web-1")],
  "old.default": [instance("old-1", { meshPort: undefined })],
});

const documents = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: api }
spec:
  parentRefs: [{ group: "", kind: Service, name: api }]
  rules:
    - matches: [{ path: { type: PathPrefix, value: /v2 } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
      timeouts: { request: 3s }
      backendRefs: [{ name: api, weight: 9 }, { name: old, weight: 1 }]
---
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata: { name: callers }
spec:
  targetRefs: [{ kind: Service, name: api }]
  rules:
    - from: [{ source: { principals: [mesh.local/ns/default/svc/web] } }]
      to: [{ operation: { paths: ["/users/*"] } }]
---
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata: { name: lab }
spec:
  targetRefs: [{ kind: Service, name: api }]
  action: DENY
  mode: audit
  rules: [{ when: [{ key: "request.headers[x-lab]", values: ["*"] }] }]
---
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata: { name: office }
spec:
  targetRefs: [{ kind: Service, name: old }]
  action: DENY
  rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/8] } }] }]
`;
const model = { trustDomain: "mesh.local", catalog, documents: documentsOf(documents) };
const ask = (over: Partial<AskedCall>) =>
  explainCall(model, {
    ...{ caller: "web", service: "api", namespace: "default", method: "GET", path: "/v2/users/1" },
    ...{ headers: [], ...over },
  });

t.test("the route, where it leads, and who decides there", async (t) => {
  const { route, backends, caller, service } = ask({});
  t.equal(caller, "spiffe://mesh.local/ns/default/svc/web");
  t.equal(service, "api.default");
  t.match(route, { source: "HTTPRoute/default/api", timeoutMs: 3000, does: ["rewrite"] });
  t.match(backends, [
    {
      ...{ cluster: "api.default", share: 90, endpoints: 2, transport: "mtls", path: "/users/1" },
      authorization: {
        ...{ verdict: "allow", by: "AuthorizationPolicy/default/callers/0", wouldDeny: "" },
        considered: [
          { policy: "AuthorizationPolicy/default/lab", action: "DENY", isTriedOut: true, matches: "no" },
          { policy: "AuthorizationPolicy/default/callers", action: "ALLOW", matches: "yes", rule: "0" },
        ],
      },
    },
    {
      ...{ cluster: "old.default", share: 10 },
      authorization: {
        ...{ verdict: "depends", by: "AuthorizationPolicy/default/office/0" },
        considered: [{ policy: "AuthorizationPolicy/default/office", matches: "depends", rule: "0" }],
      },
    },
  ]);
});

t.test("what is decided on is what is forwarded", async (t) => {
  const [first] = ask({ path: "/v2/x/..//users/%31" }).backends;
  t.match(first, { path: "/users/1", authorization: { verdict: "allow" } });
  t.match(ask({ path: "/users/1" }).route, undefined, "no route takes it");
  t.match(ask({ path: "/v2/orders" }).backends[0]?.authorization, { verdict: "deny", by: "implicit-deny" });
  t.match(ask({ caller: "spiffe://other.mesh/ns/default/svc/web" }).backends[0]?.authorization, {
    verdict: "deny",
    by: "implicit-deny",
  });
  t.match(ask({ headers: ["X-Lab", "1"] }).backends[0]?.authorization, {
    verdict: "allow",
    wouldDeny: "AuthorizationPolicy/default/lab/0",
  });
});

t.test("what nobody can send is refused with the reason", async (t) => {
  t.throws(() => ask({ path: "/a/..;/b" }), /can be read in several ways/);
  t.throws(() => ask({ caller: "web/x" }), /neither a service nor its SPIFFE id/);
});

t.test("a name that the registry does not have is told, with what may be meant", async (t) => {
  t.same(ask({}).doubts, []);
  t.same(ask({ caller: "wep", service: "billing" }).doubts, [
    'the registry has no service wep.default; did you mean "web.default"?',
    "the registry has no service billing.default",
  ]);
  t.same(ask({ caller: "spiffe://other.mesh/ns/default/svc/stranger" }).doubts, [], "of another mesh, maybe");
});
