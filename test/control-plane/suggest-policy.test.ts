import fc from "fast-check";
import t from "tap";
import { stringify } from "yaml";
import { compileInbound } from "../../control-plane/compiler/compile-inbound.js";
import { indexMesh } from "../../control-plane/compiler/mesh-index.js";
import type { SeenCall, ServiceCalls } from "../../control-plane/observation/call-table.js";
import { createJudge } from "../../control-plane/observation/judge-calls.js";
import { suggestPolicy } from "../../control-plane/observation/suggest-policy.js";
import { suggestionYaml } from "../../control-plane/observation/suggestion-yaml.js";
import { catalogOf, documentsOf } from "../support/mesh-model.js";

const id = (service: string): string => `spiffe://mesh.local/ns/default/svc/${service}`;
const day = 86_400_000;
const nowMs = Date.UTC(2026, 0, 9);

const seenCall = (over: Partial<SeenCall>): SeenCall => ({
  ...{ caller: id("web"), method: "GET", path: "/users", port: 80, protocol: "http" },
  ...{ verdict: "allow", rule: "", count: 1, firstSeenMs: nowMs - 8 * day, lastSeenMs: nowMs - 60_000 },
  ...over,
});

const seen = (calls: readonly SeenCall[], over: Partial<ServiceCalls> = {}): ServiceCalls => ({
  ...{ service: "api", namespace: "default", sinceMs: nowMs - 8 * day, lastReportMs: nowMs, lost: 0, calls },
  ...over,
});

/** What the documents in `yaml` say to a call. */
function judgeOf(yaml: string) {
  const model = { trustDomain: "mesh.local", catalog: catalogOf({}), documents: documentsOf(yaml) };
  const config = compileInbound(indexMesh(model), "api.default").authorization;
  if (config === undefined) throw new Error("the policy does not hold for the service");
  return createJudge(config, []);
}

t.test("the document: by caller, then by methods", async (t) => {
  const calls = [
    seenCall({ path: "/users", count: 5 }),
    seenCall({ path: "/users/*" }),
    seenCall({ path: "/users", method: "POST" }),
    seenCall({ path: "/users/*/orders", method: "POST" }),
    seenCall({ caller: id("batch"), protocol: "tcp", method: "", path: "" }),
    seenCall({ caller: "", path: "/health", count: 7 }),
    seenCall({ caller: id("spy"), verdict: "deny", rule: "implicit-deny", count: 3 }),
    seenCall({ path: "__other__", count: 2 }),
  ];
  const known = seen(calls);
  const yaml = suggestionYaml(known, suggestPolicy(known, "audit"), { trustDomain: "mesh.local", nowMs });
  t.equal(
    yaml,
    `# What api.default was asked between 2026-01-01T00:00Z and 2026-01-09T00:00Z.
# Not admitted: 7 calls of callers without a certificate: no policy can name them.
# Not admitted: 3 calls that were refused (implicit-deny).
# Not admitted: 2 calls to more paths than are told apart.
# With mode audit it decides nothing: what it would refuse is logged and counted. Take the line out to enforce it.
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata:
  name: api-callers
  namespace: default
spec:
  targetRefs:
    - kind: Service
      name: api
  action: ALLOW
  mode: audit
  rules:
    # batch.default: 1 calls, first seen 8 days ago, last 60 s ago
    - from:
        - source:
            principals: [ mesh.local/ns/default/svc/batch ]
    # web.default: 8 calls, first seen 8 days ago, last 60 s ago
    - from:
        - source:
            principals: [ mesh.local/ns/default/svc/web ]
      to:
        - operation:
            methods: [ GET ]
            paths: [ "/users/{*}" ]
        - operation:
            methods: [ GET, POST ]
            paths: [ /users ]
        - operation:
            methods: [ POST ]
            paths: [ "/users/{*}/orders" ]
`,
  );
  t.notMatch(
    suggestionYaml(known, suggestPolicy(known, "enforce"), { trustDomain: "mesh.local", nowMs }),
    /audit/,
  );
});

t.test("it says what speaks against it", async (t) => {
  const short = seen([], { sinceMs: nowMs - 3_600_000, lastReportMs: nowMs - 600_000, lost: 9 });
  const yaml = suggestionYaml(short, suggestPolicy(short, "audit"), { trustDomain: "mesh.local", nowMs });
  t.match(yaml, /^# WARNING: observed for 50 min only/m);
  t.match(yaml, /^# WARNING: no sidecar has reported for 10 min/m);
  t.match(yaml, /^# WARNING: 9 calls were not counted/m);
  t.match(yaml, /There is nothing to admit yet/);
});

const segment = fc.constantFrom("users", "v1", "*", "a.b", "shop.Orders", "x-1");
const anyCall = fc.record({
  caller: fc.constantFrom("web", "batch", "a_b", "c.d").map(id),
  method: fc.constantFrom("GET", "POST", "DELETE"),
  path: fc.array(segment, { maxLength: 4 }).map((segments) => `/${segments.join("/")}`),
  protocol: fc.constantFrom("http" as const, "http" as const, "grpc" as const, "tcp" as const),
});

t.test("it admits what was seen, and nothing else", async () => {
  fc.assert(
    fc.property(fc.array(anyCall, { minLength: 1, maxLength: 30 }), anyCall, (list, another) => {
      const calls = list.map((call) =>
        seenCall(call.protocol === "tcp" ? { ...call, method: "", path: "" } : call),
      );
      const { document } = suggestPolicy(seen(calls), "enforce");
      const judge = judgeOf(stringify(document));
      if (!calls.every((call) => judge(call).outcome === "allow")) return false;
      if (another.protocol === "tcp") return true;
      const own = calls.filter(({ caller }) => caller === another.caller);
      const isSeen = own.some(
        ({ method, path, protocol }) =>
          protocol === "tcp" || (method === another.method && covers(path, another.path)),
      );
      return (judge({ ...another, port: 80 }).outcome === "allow") === isSeen;
    }),
    { numRuns: 300 },
  );
});

/** A `*` admits whatever segment. */
function covers(shape: string, path: string): boolean {
  const [a, b] = [shape.split("/"), path.split("/")];
  return a.length === b.length && a.every((part, at) => part === b[at] || (part === "*" && b[at] !== ""));
}
