/** From AuthorizationPolicy documents to what the sidecars of a service decide by. */
import t from "tap";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import { parseDocuments } from "../../../control-plane/policy-store/parse-documents.js";
import type { Verdict } from "../../../src/config/authorization-config.js";
import type { AuthorizationAttributes } from "../../../src/policy/authorization-attributes.js";
import { decide, nameOf } from "../../../src/policy/authorization-decision.js";

const web = "spiffe://mesh.local/ns/default/svc/web";

const policy = (name: string, spec: string, namespace = "default", more = ""): string =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: ${namespace}${more}}\nspec: ${spec}\n`;

function inboundOf(texts: readonly string[], defaultAction: Verdict) {
  const documents = texts.flatMap((text, index) =>
    parseDocuments(text, "test").map((document) => ({ document, text, file: "test", createdAtMs: index })),
  );
  const catalog = { services: new Map(), isStale: false } as unknown as Parameters<
    typeof compileSnapshot
  >[0]["catalog"];
  const model = { trustDomain: "mesh.local", catalog, documents, defaultAction };
  const node = { service: "api", namespace: "default", upstreams: ["x"] } as unknown as Parameters<
    typeof compileSnapshot
  >[1];
  return compileSnapshot(model, node).inbound;
}

const authorizationOf = (texts: readonly string[], defaultAction: Verdict = "allow") =>
  inboundOf(texts, defaultAction).authorization;

interface Ask {
  readonly principal?: string | undefined;
  readonly path?: string;
  readonly method?: string;
  readonly isTcp?: boolean;
}

function outcome(texts: readonly string[], ask: Ask = {}, defaultAction: Verdict = "allow"): string {
  const config = authorizationOf(texts, defaultAction);
  if (config === undefined) return "allow";
  const { path = "/", method = "GET", isTcp = false } = ask;
  const it: AuthorizationAttributes = {
    principal: "principal" in ask ? ask.principal : web,
    sourceIp: "10.1.2.3",
    port: 8080,
    http: isTcp ? undefined : { method, authority: "api", path, headers: [] },
  };
  const { verdict, by, wouldDeny } = decide(config, it);
  const short = (name: string): string => name.replace("AuthorizationPolicy/", "");
  return [
    verdict,
    ...(by === null ? [] : [short(nameOf(by))]),
    ...(wouldDeny === null ? [] : [`would deny ${short(nameOf(wouldDeny))}`]),
  ].join(" ");
}

t.test("Istio's order", async (t) => {
  const allowGet = policy("a", "{rules: [{to: [{operation: {methods: [GET]}}]}]}");
  const denyAdmin = policy("d", '{action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}');
  const nothing = policy("n", "{}");
  const everything = policy("e", "{rules: [{}]}");
  const table: [string[], Ask, string][] = [
    [[], {}, "allow"],
    [[nothing], {}, "deny implicit-deny"],
    [[everything], {}, "allow default/e/0"],
    [[everything], { principal: undefined }, "allow default/e/0"],
    [[allowGet], {}, "allow default/a/0"],
    [[allowGet], { method: "PUT" }, "deny implicit-deny"],
    [[allowGet], { isTcp: true }, "deny implicit-deny"],
    [[denyAdmin], {}, "allow"],
    [[denyAdmin], { path: "/admin/x" }, "deny default/d/0"],
    [[denyAdmin], { isTcp: true }, "deny default/d/0"],
    [[everything, denyAdmin], { path: "/admin" }, "deny default/d/0"],
    [[allowGet, denyAdmin], { path: "/x" }, "allow default/a/0"],
    [[nothing, allowGet], {}, "allow default/a/0"],
    [[policy("d", "{action: DENY}")], {}, "allow"],
  ];
  for (const [texts, ask, expected] of table)
    t.equal(outcome(texts, ask), expected, `${JSON.stringify(ask)} ${texts.join()}`);
});

t.test("the mesh's default", async (t) => {
  t.equal(outcome([], {}, "deny"), "deny implicit-deny");
  t.equal(outcome([policy("d", "{action: DENY, rules: [{}]}")], {}, "deny"), "deny default/d/0");
  t.equal(outcome([policy("e", "{rules: [{}]}")], {}, "deny"), "allow default/e/0");
});

t.test("which services", async (t) => {
  const holds = (text: string): boolean => authorizationOf([text]) !== undefined;
  t.ok(holds(policy("p", "{targetRefs: [{kind: Service, name: x}, {kind: Service, name: api}]}")));
  t.notOk(holds(policy("p", "{targetRefs: [{kind: Service, name: x}]}")));
  t.notOk(holds(policy("p", "{targetRefs: [{kind: Service, name: api}]}", "other")));
  t.ok(holds(policy("p", "{selector: {matchLabels: {app: api}}}")));
  t.notOk(holds(policy("p", "{selector: {matchLabels: {app: web}}}")));
  t.ok(holds(policy("p", "{}")));
  t.notOk(holds(policy("p", "{}", "other")));
  t.ok(holds(policy("p", "{}", "remora-system")));
  t.ok(holds(policy("p", "{}", "istio-system")));
  t.notOk(holds(policy("p", "{selector: {matchLabels: {app: api}}}", "istio-system")));
});

t.test("tried out", async (t) => {
  const annotated = (note: string): string => policy("p", "{}", "default", `, annotations: {${note}}`);
  const expected = "allow would deny implicit-deny";
  t.equal(outcome([policy("p", "{mode: audit}")]), expected);
  t.equal(outcome([annotated("remora.mesh/mode: audit")]), expected);
  t.equal(outcome([annotated('istio.io/dry-run: "true"')]), expected);
  t.equal(outcome([annotated("remora.mesh/mode: enforce")]), "deny implicit-deny");
  const deny = policy("d", "{action: DENY, mode: audit, rules: [{}]}");
  t.equal(outcome([deny]), "allow would deny default/d/0");
  t.equal(outcome([policy("p", "{mode: audit, rules: [{}]}")], {}, "deny"), "deny implicit-deny");
  t.equal(outcome([policy("p", "{mode: audit}")], {}, "deny"), "deny implicit-deny");
});

t.test("callers, also those of another trust domain", async (t) => {
  const foreign = "spiffe://other.mesh/ns/default/svc/web";
  const plain = undefined;
  const table: [string, allows: (string | undefined)[], denies: (string | undefined)[]][] = [
    ["principals: [mesh.local/ns/default/svc/web]", [web], [web]],
    ['principals: ["spiffe://mesh.local/ns/default/svc/web"]', [web], [web]],
    ['principals: ["*"]', [web, foreign], [web, foreign]],
    ["namespaces: [default]", [web], [web, foreign]],
    ["namespaces: [default], trustDomains: [other.mesh]", [foreign], [foreign]],
    ["serviceAccounts: [web]", [web], [web, foreign]],
    ["serviceAccounts: [default/web]", [web], [web, foreign]],
    ["notNamespaces: [default]", [], [foreign, plain]],
    ["notNamespaces: [dev]", [web], [web, foreign, plain]],
    ["notPrincipals: [mesh.local/ns/default/svc/web]", [foreign, plain], [foreign, plain]],
    ["ipBlocks: [10.0.0.0/8]", [web, foreign, plain], [web, foreign, plain]],
  ];
  for (const [source, allows, denies] of table) {
    for (const principal of [web, foreign, plain]) {
      const rules = `rules: [{from: [{source: {${source}}}]}]`;
      const allowed = outcome([policy("p", `{${rules}}`)], { principal }).startsWith("allow");
      const denied = outcome([policy("p", `{action: DENY, ${rules}}`)], { principal }).startsWith("deny");
      t.equal(allowed, allows.includes(principal), `ALLOW ${source} ${principal}`);
      t.equal(denied, denies.includes(principal), `DENY ${source} ${principal}`);
    }
  }
});

t.test("what could never match, or means another thing, is refused with its place", async (t) => {
  const table: [string, RegExp][] = [
    ["{rules: [{to: [{operation: {path: [/a]}}]}]}", /unknown field "path"; did you mean "paths"/],
    ["{rules: [{to: [{operation: {paths: [a]}}]}]}", /begins with \//],
    ["{rules: [{to: [{operation: {paths: [//a]}}]}]}", /write \/a/],
    ["{rules: [{to: [{operation: {paths: [/a/../b]}}]}]}", /write \/b/],
    ['{rules: [{to: [{operation: {paths: ["/a?b"]}}]}]}', /without query/],
    ["{rules: [{to: [{operation: {paths: [/a%2fb]}}]}]}", /%2F and %5C are refused/],
    ['{rules: [{to: [{operation: {paths: ["/a*b"]}}]}]}', /\* stands alone/],
    ['{rules: [{to: [{operation: {paths: ["/{**}/{*}"]}}]}]}', /must be the last/],
    ['{rules: [{to: [{operation: {paths: ["/a{*}"]}}]}]}', /whole segments/],
    ["{rules: [{to: [{operation: {methods: [get]}}]}]}", /upper case/],
    ['{rules: [{to: [{operation: {ports: ["70000"]}}]}]}', /no port/],
    ["{rules: [{to: [{operation: {}}]}]}", /says nothing/],
    ["{rules: [{to: [{operation: {methods: []}}]}]}", /is empty/],
    ["{rules: [{from: [{source: {principals: [web]}}]}]}", /no SPIFFE id/],
    ["{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}", /no IP address or block/],
    ["{rules: [{from: [{source: {requestPrincipals: [a]}}]}]}", /not supported/],
    ["{rules: [{from: [{source: {serviceAccounts: [web], namespaces: [a]}}]}]}", /cannot be combined/],
    ["{rules: [{when: [{key: request.header, values: [a]}]}]}", /unknown key/],
    ['{rules: [{when: [{key: "request.headers[x]"}]}]}', /needs values or notValues/],
    ["{rules: [{when: [{key: request.auth.claims, values: [a]}]}]}", /not supported by this version/],
    ["{selector: {matchLabels: {version: v1}}}", /names no service/],
    [
      "{selector: {matchLabels: {app: a}}, targetRefs: [{kind: Service, name: a}]}",
      /leave one of the two out/,
    ],
    ["{action: CUSTOM}", /not supported/],
    ["{action: deny}", /did you mean "DENY"|expected one of/],
    ["{mode: dry}", /unknown value "dry"/],
  ];
  for (const [spec, expected] of table) {
    t.throws(() => parseDocuments(policy("p", spec), "p.yaml"), expected, spec);
  }
  const misspelt = policy("p", "{}", "default", ", annotations: {remora.mesh/mode: adit}");
  t.throws(() => parseDocuments(misspelt, "p.yaml"), /write audit or enforce/);
});

t.test("PeerAuthentication: the nearest counts", async (t) => {
  const document = (name: string, mode: string, namespace = "default", selector = ""): string =>
    `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: {mtls: {mode: ${mode}}${selector}}\n`;
  const ofApi = ", selector: {matchLabels: {app: api}}";
  const traffic =
    "apiVersion: remora.mesh/v1\nkind: TrafficPolicy\nmetadata: {name: api}\nspec: {targetRefs: [{kind: Service, name: api}], mtls: {mode: STRICT}}\n";
  const table: [string[], string][] = [
    [[], "STRICT"],
    [[document("a", "PERMISSIVE")], "PERMISSIVE"],
    [[document("a", "PERMISSIVE", "other")], "STRICT"],
    [[document("a", "PERMISSIVE", "istio-system")], "PERMISSIVE"],
    [[document("a", "PERMISSIVE", "remora-system", ofApi)], "STRICT"],
    [[document("a", "PERMISSIVE", "remora-system"), document("b", "DISABLE")], "DISABLE"],
    [[document("a", "PERMISSIVE"), document("b", "STRICT", "default", ofApi)], "STRICT"],
    [[document("a", "PERMISSIVE"), document("b", "UNSET", "default", ofApi)], "PERMISSIVE"],
    [[document("a", "PERMISSIVE"), document("b", "DISABLE")], "PERMISSIVE"],
    [[document("a", "PERMISSIVE", "default", ofApi), traffic], "STRICT"],
  ];
  for (const [texts, expected] of table) t.equal(inboundOf(texts, "allow").mtlsMode, expected, texts.join());
  const wrong = document("a", "PERMISSIVE", "default", ", selector: {matchLabels: {version: v1}}");
  t.throws(() => parseDocuments(wrong, "p.yaml"), /names no service/);
});
