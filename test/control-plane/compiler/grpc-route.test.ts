/** GRPCRoutes and protocols, from the document to the route that a call takes. */
import t from "tap";
import { compileSnapshot } from "../../../control-plane/compiler/compile.js";
import { compileRetry } from "../../../control-plane/compiler/compile-retry.js";
import { conditionsOf } from "../../../control-plane/compiler/conditions.js";
import { assertConsistent } from "../../../src/config/assert-consistent.js";
import type { RouteConfig, Snapshot } from "../../../src/config/snapshot.js";
import { decodeSnapshot, encodeSnapshot } from "../../../src/discovery/xds-resources.js";
import { applyHeaderModifier } from "../../../src/policy/header-modifier.js";
import { RouteTable } from "../../../src/route/route-table.js";
import { pickWeighted } from "../../../src/route/weighted.js";
import type { RequestHead } from "../../../src/traffic/message.js";
import { catalogOf, documentsOf, instance } from "../../support/mesh-model.js";

const grpc = { protocol: "grpc" } as const;
const services = {
  "cart.default": [instance("cart-1", grpc)],
  "cart-v2.default": [instance("v2-1", grpc)],
  "web.default": [instance("web-1")],
  "redis.default": [instance("redis-1", { protocol: "tcp" })],
};
const modelOf = (yaml: string, registered: Parameters<typeof catalogOf>[0]) => ({
  trustDomain: "mesh.local",
  catalog: catalogOf(registered),
  documents: documentsOf(yaml),
});

/** What the sidecar of web gets: compiled, and once over the wire. */
function compile(yaml: string, registered: Parameters<typeof catalogOf>[0] = services): Snapshot {
  const node = {
    id: "web-1",
    service: "web",
    namespace: "default",
    protocol: "http",
    upstreams: [],
    zone: "",
  };
  const snapshot = compileSnapshot(modelOf(yaml, registered), { ...node, protocol: "http" });
  assertConsistent(snapshot);
  return decodeSnapshot(encodeSnapshot(snapshot));
}

function conditions(yaml: string, id: string): readonly string[] {
  const found = conditionsOf(modelOf(yaml, services)).get(id) ?? [];
  return found.map((item) => `${item.type}=${item.status} ${item.reason}: ${item.message}`);
}

const document = (kind: "GRPCRoute" | "HTTPRoute", name: string, spec: string): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: {name: ${name}}
spec: {${spec}}
---
`;
const route = (name: string, rules: string): string =>
  document("GRPCRoute", name, `parentRefs: [{name: cart}], rules: [${rules}]`);
const policy = (name: string, spec: string): string =>
  `apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: {name: p-${name}}
spec: {targetRefs: [{kind: Service, name: ${name}}], ${spec}}
---
`;

function call(target: string, headers: readonly string[] = [], type = "application/grpc"): RequestHead {
  return {
    ...{ method: "POST", target, authority: "cart", version: "2", upgrade: "" },
    headers: ["content-type", type, ...headers],
  };
}

/** The route that a request takes on the outbound port; undefined is no_route: 404, or UNIMPLEMENTED for a call. */
function chosen(snapshot: Snapshot, head: RequestHead): RouteConfig | undefined {
  return RouteTable.build(snapshot.virtualHosts, (_, config) => config).byHost(head);
}

const ruleOf = (snapshot: Snapshot, head: RequestHead): string | undefined =>
  chosen(snapshot, head)?.name.split("/")[3];

t.test("a call is matched by service, method and headers", async (t) => {
  const one = (match: string): Snapshot => compile(route("r", `{name: it, matches: [${match}]}`));
  const rows: readonly (readonly [match: string, head: RequestHead, matches: boolean])[] = [
    ["{method: {service: a.B, method: Get}}", call("/a.B/Get"), true],
    ["{method: {service: a.B, method: Get}}", call("/a.B/Get?x=1"), true],
    ["{method: {service: a.B, method: Get}}", call("/a.B/get"), false],
    ["{method: {service: a.B, method: Get}}", call("/a.B/GetAll"), false],
    ["{method: {service: a.B}}", call("/a.B/Any"), true],
    ["{method: {service: a.B}}", call("/a.Bc/Any"), false],
    ["{method: {service: a.B}}", call("/x/a.B/Any"), false],
    ["{method: {method: Get}}", call("/any.Service/Get"), true],
    ["{method: {method: Get}}", call("/any.Service/GetAll"), false],
    ["{method: {method: Get}}", call("/x/any.Service/Get"), false],
    ["{method: {type: RegularExpression, service: 'a[.](B|C)', method: 'G.*'}}", call("/a.C/Get"), true],
    ["{method: {type: RegularExpression, service: 'a[.](B|C)', method: 'G.*'}}", call("/a.D/Get"), false],
    ["{method: {type: RegularExpression, service: 'a|b'}}", call("/b/Get"), true],
    ["{method: {type: RegularExpression, service: 'a|b'}}", call("/ab/Get"), false],
    ["{method: {type: RegularExpression, method: 'G|P'}}", call("/any.S/P"), true],
    ["{headers: [{name: X-User, value: beta}]}", call("/a.B/Get", ["x-user", "beta"]), true],
    ["{headers: [{name: X-User, value: beta}]}", call("/a.B/Get"), false],
    ["{}", call("/a.B/Get"), true],
    ["{}", call("/a.B/Get", [], "application/grpc+proto"), true],
    ["{}", call("/a.B/Get", [], "application/grpc-web"), false],
    ["{}", call("/a.B/Get", [], "application/json"), false],
    ["{method: {service: a.B, method: Get}}", call("/a.B/Get", [], "text/plain"), false],
  ];
  for (const [match, head, matches] of rows) {
    t.equal(ruleOf(one(match), head) === "it", matches, `${match} ${head.headers.join(" ")} ${head.target}`);
  }
  t.equal(ruleOf(compile(route("r", "{name: it}")), call("/a.B/Get")), "it", "no matches: every call");
  t.equal(chosen(one("{}"), call("/", [], "text/html")), undefined, "a route takes the catch-all's place");
});

t.test(
  "service goes before method, names before expressions, then more headers, then the older",
  async (t) => {
    const rules = [
      "{name: all}",
      "{name: method, matches: [{method: {method: Pay}}]}",
      "{name: regex, matches: [{method: {type: RegularExpression, service: 'shop[.](Cart|Stock)'}}]}",
      "{name: methods, matches: [{method: {type: RegularExpression, service: '.*', method: 'Check.*'}}]}",
      "{name: service, matches: [{method: {service: shop.Cart}}]}",
      "{name: exact, matches: [{method: {service: shop.Cart, method: Get}}]}",
      "{name: headers, matches: [{method: {service: shop.Cart, method: Get}, headers: [{name: a, value: b}]}]}",
    ];
    for (const ordered of [rules, [...rules].reverse()]) {
      const snapshot = compile(route("r", ordered.join(", ")));
      t.equal(ruleOf(snapshot, call("/shop.Cart/Get", ["a", "b"])), "headers");
      t.equal(ruleOf(snapshot, call("/shop.Cart/Get")), "exact");
      t.equal(
        ruleOf(snapshot, call("/shop.Cart/Checkout")),
        "methods",
        "it names a method, though by expression",
      );
      t.equal(ruleOf(snapshot, call("/shop.Cart/Put")), "service");
      t.equal(ruleOf(snapshot, call("/shop.Stock/Put")), "regex");
      t.equal(ruleOf(snapshot, call("/x.Y/Pay")), "method");
      t.equal(ruleOf(snapshot, call("/x.Y/Get")), "all");
    }
    const twice = compile(route("b", "{name: older}") + route("a", "{name: younger}"));
    t.equal(ruleOf(twice, call("/a.B/Get")), "older");
  },
);

t.test("beside an HTTPRoute, calls go by the GRPCRoute first and the rest by the HTTPRoute", async (t) => {
  const web = document(
    "HTTPRoute",
    "h",
    "parentRefs: [{name: cart}], rules: [{name: page, matches: [{path: {value: /shop.Cart/Get}}]}]",
  );
  for (const yaml of [
    web + route("g", "{name: call, matches: [{method: {service: shop.Cart}}]}"),
    route("g", "{name: call, matches: [{method: {service: shop.Cart}}]}") + web,
  ]) {
    const snapshot = compile(yaml);
    t.equal(ruleOf(snapshot, call("/shop.Cart/Get")), "call");
    t.equal(ruleOf(snapshot, call("/shop.Cart/Get", [], "text/html")), "page");
    t.equal(ruleOf(snapshot, call("/shop.Other/Get")), undefined);
  }
});

t.test("its hostnames, limits and missing backends are those of any route", async (t) => {
  const yaml =
    document(
      "GRPCRoute",
      "g",
      "parentRefs: [{name: cart}], hostnames: [cart.example], rules: [{backendRefs: [{name: cart-v2}, {name: gone}, {name: redis}]}]",
    ) + policy("cart", "timeouts: {request: 2s}, retry: {on: [unavailable, internal], attempts: 3}");
  const snapshot = compile(yaml);
  const head = { ...call("/a.B/Get"), authority: "cart.example" };
  t.match(chosen(snapshot, head), {
    name: "grpcroute/default/g/#0/0",
    source: "GRPCRoute/default/g",
    timeoutMs: 2000,
    retry: { attempts: 3, codes: [], grpcCodes: [13, 14] },
    action: { backends: [{ cluster: "cart-v2.default" }, { cluster: "" }, { cluster: "" }] },
  });
  t.same(conditions(yaml, "GRPCRoute/default/g"), [
    "Accepted=True Accepted: the route is in force",
    "ResolvedRefs=False BackendNotFound: service gone.default is not in the registry: requests that fall to it are answered with UNAVAILABLE; service redis.default speaks tcp: requests that fall to it are answered with UNAVAILABLE",
  ]);
  t.same(conditions(route("g", "{backendRefs: [{name: web}]}"), "GRPCRoute/default/g"), [
    "Accepted=True Accepted: the route is in force",
    "ResolvedRefs=False UnsupportedProtocol: service web.default speaks HTTP/1.1, which carries no gRPC: start it with --protocol grpc",
  ]);
});

t.test("what retry.on says", async (t) => {
  const rows: readonly (readonly [
    Parameters<typeof compileRetry>[1],
    codes: number[],
    grpcCodes: number[],
  ])[] = [
    [{}, [502, 503, 504], [14]],
    [{ codes: [500] }, [500], [14]],
    [{ on: ["gateway-error"] }, [502, 503, 504], []],
    [{ on: ["retriable-4xx", "gateway-error"], codes: [500, 503] }, [409, 500, 502, 503, 504], []],
    [{ on: ["unavailable", "cancelled", "deadline-exceeded", "resource-exhausted"] }, [], [1, 4, 8, 14]],
    [{ on: ["connect-failure", "reset", "refused-stream"] }, [], []],
  ];
  for (const [spec, codes, grpcCodes] of rows) t.match(compileRetry(undefined, spec), { codes, grpcCodes });
  t.match(compileRetry({ codes: [501] }, { on: ["gateway-error", "internal"] }), {
    codes: [501],
    grpcCodes: [13],
  });
});

t.test("a service speaks what its policy says, else what most instances declare", async (t) => {
  const mixed = {
    ...services,
    "mixed.default": [instance("m-1"), instance("m-2", grpc), instance("m-3", grpc)],
  };
  const protocols = (yaml: string) =>
    Object.fromEntries(compile(yaml, mixed).clusters.map(({ service, protocol }) => [service, protocol]));
  t.match(protocols(""), { mixed: "grpc", cart: "grpc", web: "http", redis: "tcp" });
  const told = policy("mixed", "protocol: http2") + policy("web", "protocol: tcp");
  t.match(protocols(told), { mixed: "http2", web: "tcp" });
  t.equal(compile(told).inbound.protocol, "tcp", "its own sidecars go by it too");
  t.notOk("protocol" in compile("").inbound, "or by what they were started with");
});

t.test("connection settings of HTTP/2 and TCP", async (t) => {
  const of = (pool: string) =>
    compile(policy("cart", `connectionPool: {${pool}}`)).clusters.find(({ service }) => service === "cart");
  t.match(of(""), { maxConcurrentStreams: 100, tunnelIdleMs: 3_600_000, maxConnections: 1024 });
  t.match(of("http2: {maxConcurrentStreams: 7}, tcp: {idleTimeout: 90s}"), {
    maxConcurrentStreams: 7,
    tunnelIdleMs: 90_000,
  });
  t.match(of("tcp: {idleTimeout: 0s}"), { tunnelIdleMs: 0 });
});

t.test("a route at a service that speaks tcp directs nobody and says so", async (t) => {
  const at = (...names: string[]): string =>
    document(
      "HTTPRoute",
      "r",
      `parentRefs: [${names.map((name) => `{name: ${name}}`).join(", ")}], hostnames: [x.example], rules: [{backendRefs: [{name: web}]}]`,
    );
  const yaml = at("redis") + policy("redis", "timeouts: {request: 5s}, retry: {attempts: 2}");
  const snapshot = compile(yaml);
  const host = snapshot.virtualHosts.find(({ name }) => name === "redis.default");
  t.match(
    snapshot.clusters.find(({ name }) => name === "redis.default"),
    { protocol: "tcp" },
    "it stays within reach though the route sends everything elsewhere",
  );
  t.same(
    host?.routes.map(({ name, source, timeoutMs, retry }) => [name, source, timeoutMs, retry]),
    [["default", "default", undefined, undefined]],
    "a connection has no request to time or to send again",
  );
  t.notOk(host?.domains.includes("x.example"));
  const message = "service redis.default speaks tcp: a route directs requests, not connections";
  t.same(conditions(yaml, "HTTPRoute/default/r"), [
    `Accepted=False UnsupportedProtocol: ${message}`,
    "ResolvedRefs=True ResolvedRefs: every backend is in the registry",
  ]);
  t.same(conditions(at("redis", "web"), "HTTPRoute/default/r"), [
    "Accepted=True Accepted: the route is in force",
    "ResolvedRefs=True ResolvedRefs: every backend is in the registry",
    `PartiallyInvalid=True UnsupportedProtocol: ${message}`,
  ]);
  const toRedis = document(
    "HTTPRoute",
    "r",
    "parentRefs: [{name: web}], rules: [{backendRefs: [{name: redis}]}]",
  );
  t.match(compile(toRedis).virtualHosts.find(({ name }) => name === "web.default")?.routes, [
    { action: { backends: [{ cluster: "" }] } },
  ]);
  t.equal(
    conditions(toRedis, "HTTPRoute/default/r")[1],
    "ResolvedRefs=False UnsupportedProtocol: service redis.default speaks tcp: requests that fall to it are answered with 500",
  );
});

t.test("Gateway API mesh conformance: grpcroute-request-header-modifier", async (t) => {
  const method = "method: {service: echo.basic.GrpcEcho, method: Echo}";
  const rule = (name: string, changes: string): string =>
    `{name: ${name}, matches: [{${method}, headers: [{name: X-Test-Case, value: ${name}}]}],
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {${changes}}}], backendRefs: [{name: cart, port: 7070}]}`;
  const snapshot = compile(
    route(
      "modifier",
      [
        rule("set", "set: [{name: X-Header-Set, value: set-overwrites-values}]"),
        rule("add", "add: [{name: X-Header-Add, value: add-appends-values}]"),
        rule("remove", "remove: [X-Header-Remove]"),
        rule(
          "multi",
          "set: [{name: X-Set-1, value: s1}, {name: X-Set-2, value: s2}], add: [{name: X-Add-1, value: a1}, {name: X-Add-2, value: a2}], remove: [X-Remove-1, X-Remove-2]",
        ),
      ].join(", "),
    ),
  );
  const cases: readonly (readonly [name: string, sent: string[], arrives: string[]])[] = [
    [
      "set",
      ["some-other", "kept", "x-header-set", "overwritten"],
      ["some-other: kept", "x-header-set: set-overwrites-values"],
    ],
    ["set", [], ["x-header-set: set-overwrites-values"]],
    ["add", ["x-header-add", "first"], ["x-header-add: add-appends-values", "x-header-add: first"]],
    ["remove", ["x-header-remove", "gone"], []],
    [
      "multi",
      ["x-set-2", "old", "x-add-2", "first", "x-remove-2", "gone", "other", "kept"],
      ["other: kept", "x-add-1: a1", "x-add-2: a2", "x-add-2: first", "x-set-1: s1", "x-set-2: s2"],
    ],
  ];
  for (const [name, sent, arrives] of cases) {
    const head = call("/echo.basic.GrpcEcho/Echo", ["x-test-case", name, ...sent]);
    const taken = chosen(snapshot, head);
    t.match(taken?.action, { backends: [{ cluster: "cart.default" }] });
    if (taken?.requestHeaders !== undefined) applyHeaderModifier(head.headers, taken.requestHeaders);
    const lines: string[] = [];
    for (let i = 4; i < head.headers.length; i += 2)
      lines.push(`${head.headers[i]?.toLowerCase()}: ${head.headers[i + 1]}`);
    t.same(lines.sort(), arrives, name);
  }
});

t.test("Gateway API mesh conformance: grpcroute-weight", async (t) => {
  const snapshot = compile(
    route(
      "weight",
      "{backendRefs: [{name: cart, port: 7070, weight: 70}, {name: cart-v2, port: 7070, weight: 30}]}",
    ),
  );
  const action = chosen(snapshot, call("/echo.basic.GrpcEcho/Echo"))?.action;
  if (action?.type !== "forward") return void t.fail("not forwarded");
  const counts = new Map<string, number>();
  const draws = 1000;
  for (let i = 0; i < draws; i++) {
    const cluster = pickWeighted(action.backends, (i + 0.5) / draws)?.cluster ?? "none";
    counts.set(cluster, (counts.get(cluster) ?? 0) + 1);
  }
  t.same(Object.fromEntries(counts), { "cart.default": 700, "cart-v2.default": 300 });
});
