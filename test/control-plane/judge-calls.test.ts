import t from "tap";
import { compileInbound } from "../../control-plane/compiler/compile-inbound.js";
import { indexMesh } from "../../control-plane/compiler/mesh-index.js";
import { notableSegments } from "../../control-plane/observation/example-paths.js";
import { createJudge, type JudgedCall } from "../../control-plane/observation/judge-calls.js";
import { catalogOf, documentsOf } from "../support/mesh-model.js";

const web = "spiffe://mesh.local/ns/default/svc/web";
const batch = "spiffe://mesh.local/ns/default/svc/batch";

/** A policy of service api; `spec` is what stands behind its targetRefs. */
const policy = (name: string, spec: string): string => `
apiVersion: remora.mesh/v1
kind: AuthorizationPolicy
metadata: { name: ${name} }
spec:
  targetRefs: [{ kind: Service, name: api }]
  ${spec}
---`;

const rules = (list: string, more = ""): string => `${more}\n  rules: [${list}]`;
const ofWeb = "from: [{ source: { principals: [mesh.local/ns/default/svc/web] } }]";
const paths = (...list: readonly string[]): string =>
  `to: [{ operation: { paths: [${list.map((path) => JSON.stringify(path)).join(", ")}] } }]`;

function judge(yaml: string, call: Partial<JudgedCall>) {
  const model = { trustDomain: "mesh.local", catalog: catalogOf({}), documents: documentsOf(yaml) };
  const config = compileInbound(indexMesh(model), "api.default").authorization ?? { stages: [] };
  const full: JudgedCall = { caller: web, method: "GET", path: "/a", port: 80, protocol: "http", ...call };
  return createJudge(config, notableSegments([config]))(full);
}

t.test("what policies say to what was observed", async (t) => {
  const allowWeb = policy("p", rules(`{ ${ofWeb} }`));
  const get = (more: string) => policy("p", rules(`{ to: [{ operation: { methods: [GET] ${more} } }] }`));
  const deny = (list: string) => policy("d", rules(list, "action: DENY"));
  const rows: readonly (readonly [
    says: string,
    yaml: string,
    call: Partial<JudgedCall>,
    outcome: string,
    rule?: string,
  ])[] = [
    ["no policy", "", {}, "allow", ""],
    ["the one", allowWeb, {}, "allow", "AuthorizationPolicy/default/p/0"],
    ["another", allowWeb, { caller: batch }, "deny", "implicit-deny"],
    ["none", allowWeb, { caller: "" }, "deny", "implicit-deny"],
    ["one of too many", allowWeb, { caller: "__other__" }, "depends", "implicit-deny"],
    [
      "tried out",
      policy("p", rules(`{ ${ofWeb} }`, "mode: audit")),
      { caller: batch },
      "audit",
      "implicit-deny",
    ],
    ["tried out, and fits", policy("p", rules(`{ ${ofWeb} }`, "mode: audit")), {}, "allow"],
    ["by method", get(""), { method: "POST" }, "deny"],
    ["by a method that was not noted", get(""), { method: "__other__" }, "depends"],
    ["tcp has no method", get(""), { protocol: "tcp", method: "", path: "" }, "deny"],
    ["tcp by caller", allowWeb, { protocol: "tcp", method: "", path: "" }, "allow"],
    ["a shape in a prefix", policy("p", rules(`{ ${paths("/users/*")} }`)), { path: "/users/*/x" }, "allow"],
    [
      "a shape in a template",
      policy("p", rules(`{ ${paths("/users/{*}")} }`)),
      { path: "/users/*" },
      "allow",
    ],
    [
      "deeper than the template",
      policy("p", rules(`{ ${paths("/users/{*}")} }`)),
      { path: "/users/*/x" },
      "deny",
    ],
    ["one of a shape", policy("p", rules(`{ ${paths("/users/42")} }`)), { path: "/users/*" }, "depends"],
    ["one of a shape is refused", deny(`{ ${paths("/users/42")} }`), { path: "/users/*" }, "depends"],
    ["some of a shape", deny(`{ ${paths("/users/4*")} }`), { path: "/users/*" }, "depends"],
    ["a word is no part of a shape", deny(`{ ${paths("/users/admin")} }`), { path: "/users/*" }, "allow"],
    ["the second of two", deny(`{ ${paths("/a/{*}/b/77/c")} }`), { path: "/a/*/b/*/c" }, "depends"],
    ["a path that was not noted", deny(`{ ${paths("/admin")} }`), { path: "__other__" }, "depends"],
    ["by header", deny(`{ when: [{ key: "request.headers[x-a]", values: [b] }] }`), {}, "depends"],
    [
      "by header, of another caller",
      deny(`{ ${ofWeb}, when: [{ key: "request.headers[x-a]", values: [b] }] }`),
      { caller: batch },
      "allow",
    ],
    ["by address", deny(`{ from: [{ source: { ipBlocks: [10.0.0.0/8] } }] }`), {}, "depends"],
    ["by host", get(", hosts: [api.example.com]"), {}, "depends"],
    [
      "by host, and by another",
      `${get(", hosts: [api.example.com]")}${policy("q", rules(`{ ${ofWeb} }`))}`,
      {},
      "allow",
    ],
    ["by port", policy("p", rules(`{ to: [{ operation: { ports: ["80"] } }] }`)), {}, "allow"],
    [
      "refused whatever is not known",
      `${allowWeb}${deny(`{ ${ofWeb} }`)}`,
      {},
      "deny",
      "AuthorizationPolicy/default/d/0",
    ],
    [
      "a refusal that is tried out, by header",
      deny(`{ when: [{ key: "request.headers[x-a]", values: [b] }] }`).replace(
        "action:",
        "mode: audit\n  action:",
      ),
      {},
      "audit",
    ],
  ];
  for (const [says, yaml, call, outcome, rule] of rows) {
    const found = judge(yaml, call);
    t.equal(found.outcome, outcome, says);
    if (rule !== undefined) t.equal(found.rule, rule, says);
  }
});

t.test("it says what it depends on", async (t) => {
  const byHeader = policy(
    "d",
    rules(`{ when: [{ key: "request.headers[x-a]", values: [b] }] }`, "action: DENY"),
  );
  t.match(judge(byHeader, {}), {
    outcome: "depends",
    rule: "AuthorizationPolicy/default/d/0",
    on: "request.header x-a",
  });
  const one = policy("d", rules(`{ ${paths("/users/42")} }`, "action: DENY"));
  t.match(judge(one, { path: "/users/*" }), { outcome: "depends", on: "what * stands for, like /users/42" });
});
