import fc from "fast-check";
import t from "tap";
import type {
  PathMatch,
  RouteConfig,
  RouteMatch,
  ValueMatch,
  VirtualHost,
} from "../../src/config/snapshot.js";
import { comparePrecedence, type RoutePrecedence } from "../../src/route/precedence.js";
import { RouteTable } from "../../src/route/route-table.js";
import { pickWeighted } from "../../src/route/weighted.js";
import type { RequestHead } from "../../src/traffic/message.js";

const prefix = (value: string): PathMatch => ({ type: "prefix", value });
const exact = (value: string): PathMatch => ({ type: "exact", value });
const regex = (value: string): PathMatch => ({ type: "regex", value });

function match(path: PathMatch, more: Partial<RouteMatch> = {}): RouteMatch {
  return { path, headers: [], query: [], ...more };
}

function route(name: string, routeMatch: RouteMatch, hostnames: readonly string[] = []): RouteConfig {
  return {
    name,
    source: `HTTPRoute/default/${name}`,
    hostnames,
    match: routeMatch,
    action: { type: "forward", backends: [] },
  };
}

function head(target: string, more: Partial<RequestHead> = {}): RequestHead {
  return { method: "GET", target, authority: "api", version: "1.1", headers: [], upgrade: "", ...more };
}

function table(routes: readonly RouteConfig[]): RouteTable<string> {
  const host: VirtualHost = { name: "api.default", domains: ["api"], routes };
  return RouteTable.build([host], (_, { name }) => name);
}

const doesMatch = (routeMatch: RouteMatch, request: RequestHead): boolean =>
  table([route("r", routeMatch)])
    .byService("api.default")
    ?.match(request) === "r";

t.test("paths", async (t) => {
  const rows: readonly (readonly [path: PathMatch, target: string, matches: boolean])[] = [
    [prefix("/"), "/", true],
    [prefix("/"), "/anything?q", true],
    [prefix("/"), "*", true],
    [prefix("/v2"), "/v2", true],
    [prefix("/v2"), "/v2/", true],
    [prefix("/v2"), "/v2/x", true],
    [prefix("/v2"), "/v2?x", true],
    [prefix("/v2"), "/v20", false],
    [prefix("/v2"), "/v", false],
    [prefix("/v2"), "/x/v2", false],
    [prefix("/v2"), "/v1?/v2", false],
    [prefix("/v2/"), "/v2", true],
    [prefix("/v2/"), "/v2/x", true],
    [prefix("/v2/"), "/v20", false],
    [prefix("/a%2db"), "/a-b/c", true], // a document may spell it differently
    [exact("/v2"), "/v2", true],
    [exact("/v2"), "/v2?x=/y", true],
    [exact("/v2"), "/v2/", false],
    [exact("/v2"), "/v", false],
    [exact("/v2"), "/V2", false],
    [exact("/"), "/", true],
    [exact("/"), "/x", false],
    [regex("/v[0-9]+"), "/v12", true],
    [regex("/v[0-9]+"), "/v12?x", true],
    [regex("/v[0-9]+"), "/v12/x", false],
    [regex("/v[0-9]+"), "/x/v12", false],
    [regex("/a|/b"), "/bb", false],
    [regex("/a|/b"), "/b", true],
    [regex("/a.c"), "/abc", true],
  ];
  for (const [path, target, expected] of rows)
    t.equal(doesMatch(match(path), head(target)), expected, `${path.type} ${path.value} ${target}`);
});

t.test("methods, headers and query parameters", async (t) => {
  const any = prefix("/");
  t.ok(doesMatch(match(any, { method: "POST" }), head("/", { method: "POST" })));
  t.notOk(doesMatch(match(any, { method: "POST" }), head("/")));
  t.notOk(
    doesMatch(match(any, { method: "GET" }), head("/", { method: "get" })),
    "methods are case-sensitive",
  );

  const value = (name: string, text: string, type: ValueMatch["type"] = "exact"): ValueMatch => ({
    name,
    type,
    value: text,
  });
  const headerRows: readonly (readonly [ValueMatch, headers: string[], matches: boolean])[] = [
    [value("x-user", "beta"), ["X-User", "beta"], true],
    [value("X-User", "beta"), ["x-user", "beta"], true],
    [value("x-user", "beta"), ["x-user", "Beta"], false],
    [value("x-user", "beta"), [], false],
    [value("x-user", "beta"), ["x-user", "beta", "x-user", "other"], false],
    [value("x-user", "beta,other"), ["x-user", "beta", "y", "z", "X-USER", "other"], true],
    [value("x-user", ""), ["x-user", ""], true],
    [value("x-user", ""), [], false],
    [value("x-user", "b.*a", "regex"), ["x-user", "beta"], true],
    [value("x-user", "b", "regex"), ["x-user", "beta"], false],
    [value("__proto__", "x"), ["__proto__", "x"], true],
    [value("constructor", ".*", "regex"), [], false],
  ];
  for (const [condition, headers, expected] of headerRows)
    t.equal(
      doesMatch(match(any, { headers: [condition] }), head("/", { headers })),
      expected,
      `header ${condition.name} ${condition.type} ${condition.value} in ${JSON.stringify(headers)}`,
    );

  const queryRows: readonly (readonly [ValueMatch, target: string, matches: boolean])[] = [
    [value("v", "2"), "/?v=2", true],
    [value("v", "2"), "/?a=1&v=2&b=3", true],
    [value("v", "2"), "/?v=1&v=2", false],
    [value("v", "2"), "/?V=2", false],
    [value("v", "2"), "/?vv=2", false],
    [value("v", "2"), "/", false],
    [value("v", ""), "/?v", true],
    [value("v", ""), "/?v=&x", true],
    [value("v", ""), "/?x", false],
    [value("v", ""), "/?", false],
    [value("v", "a b"), "/?v=a%20b", true],
    [value("v", "a+b"), "/?v=a+b", true],
    [value("v", "a=b"), "/?v=a=b", true],
    [value("v", "%zz"), "/?v=%zz", true],
    [value("ä", "é"), "/?%C3%A4=%c3%a9", true],
    [value("v", "[0-9]+", "regex"), "/?v=17", true],
    [value("v", "[0-9]+", "regex"), "/?v=17x", false],
    [value("v", "2"), "/x=1&v=2", false],
    [value("v", "2"), "/?&&v=2", true],
  ];
  for (const [condition, target, expected] of queryRows)
    t.equal(
      doesMatch(match(any, { query: [condition] }), head(target)),
      expected,
      `query ${condition.name} ${condition.type} ${condition.value} in ${target}`,
    );

  const both = match(any, { headers: [value("a", "1"), value("b", "2")], query: [value("q", "3")] });
  t.ok(doesMatch(both, head("/?q=3", { headers: ["b", "2", "a", "1"] })), "all conditions hold");
  t.notOk(doesMatch(both, head("/?q=3", { headers: ["b", "2"] })), "one is missing");
});

t.test("the first match wins; hosts choose the virtual host", async (t) => {
  const all = match(prefix("/"));
  const hosts: VirtualHost[] = [
    {
      name: "api.default",
      domains: ["api", "api.mesh", "*.api.mesh"],
      routes: [
        route("beta", all, ["beta.api.mesh", "*.beta.api.mesh"]),
        route("v2", match(prefix("/v2"))),
        route("rest", all),
      ],
    },
    { name: "deep.default", domains: ["*.deep.api.mesh", "[::1]"], routes: [route("deep", all)] },
    { name: "none.default", domains: ["none"], routes: [route("never", match(exact("/only")))] },
  ];
  const prepared: string[] = [];
  const routes = RouteTable.build(hosts, (host, { name }) => {
    prepared.push(`${host.name}/${name}`);
    return name;
  });
  t.same(prepared, [
    "api.default/beta",
    "api.default/v2",
    "api.default/rest",
    "deep.default/deep",
    "none.default/never",
  ]);
  const rows: readonly (readonly [authority: string, target: string, expected: string | undefined])[] = [
    ["api", "/v2/x", "v2"],
    ["api", "/x", "rest"],
    ["api:8080", "/x", "rest"],
    ["api.mesh", "/v2", "v2"],
    ["beta.api.mesh", "/v2", "beta"],
    ["x.beta.api.mesh:1", "/v2", "beta"],
    ["gamma.api.mesh", "/v2", "v2"],
    ["y.x.api.mesh", "/", "rest"],
    ["deep.api.mesh", "/", "rest"],
    ["x.deep.api.mesh", "/", "deep"], // the longest suffix
    ["[::1]:80", "/", "deep"],
    ["[::1]", "/", "deep"],
    [".api.mesh", "/", undefined],
    ["mesh", "/", undefined],
    ["xapi.mesh", "/", undefined],
    ["", "/", undefined],
    ["__proto__", "/", undefined],
    ["none", "/x", undefined],
  ];
  for (const [authority, target, expected] of rows)
    t.equal(routes.byHost(head(target, { authority })), expected, `${authority} ${target}`);
  t.equal(routes.knowsHost("none:80"), true);
  t.equal(routes.knowsHost("other"), false);
  t.equal(
    routes.byService("api.default")?.match(head("/v2", { authority: "127.0.0.1:9001" })),
    "beta",
    "on a local port hostnames are ignored",
  );
  t.equal(routes.byService("constructor"), undefined);
});

t.test("bad regular expressions are refused with the document's name", async (t) => {
  for (const source of ["(", "(?=x)", "a{1000}{1000}", "x".repeat(1025), "(?:a{60}){100}"]) {
    t.throws(
      () => table([route("bad", match(regex(source)))]),
      { name: "ConfigError", place: "HTTPRoute/default/bad" },
      source.slice(0, 20),
    );
  }
  const evil = table([route("evil", match(regex("/(a+)+$")))]).byService("api.default");
  const startMs = performance.now();
  t.equal(evil?.match(head(`/${"a".repeat(20_000)}b`)), undefined);
  t.ok(performance.now() - startMs < 1000, "linear in the length of the path");
});

t.test("precedence", async (t) => {
  const base = { createdMs: 0, name: "default/a", ruleIndex: 0, matchIndex: 0 };
  const item = (routeMatch: RouteMatch, more: Partial<RoutePrecedence> = {}): RoutePrecedence => ({
    ...base,
    match: routeMatch,
    ...more,
  });
  const h: ValueMatch = { name: "h", type: "exact", value: "1" };
  // Each one goes before the next.
  const ordered: RoutePrecedence[] = [
    item(match(exact("/a"), { method: "GET" })),
    item(match(exact("/much/longer"))),
    item(match(prefix("/abc/def"))),
    item(match(regex("/ab.*"))),
    item(match(prefix("/abc"), { method: "GET" })),
    item(match(prefix("/abc/"), { headers: [h, h] })),
    item(match(prefix("/abc"), { headers: [h], query: [h] })),
    item(match(prefix("/abc"), { headers: [h] })),
    item(match(prefix("/abc"), { query: [h, h] })),
    item(match(prefix("/abc"), { query: [h] })),
    item(match(prefix("/abc")), { createdMs: 1, name: "z/z" }),
    item(match(prefix("/abc")), { createdMs: 2, name: "a/a", ruleIndex: 9 }),
    item(match(prefix("/abc")), { createdMs: 2, name: "a/b" }),
    item(match(prefix("/abc")), { createdMs: 2, name: "a/b", matchIndex: 1 }),
    item(match(prefix("/abc")), { createdMs: 2, name: "a/b", ruleIndex: 1 }),
    item(match(regex("/a.c")), {}),
    item(match(prefix("/"), { method: "GET" })),
    item(match(prefix("/"))),
  ];
  const sign = (n: number): number => Math.sign(n) + 0;
  ordered.forEach((a, i) => {
    ordered.forEach((b, j) => {
      if (sign(comparePrecedence(a, b)) !== sign(i - j)) t.fail(`${i} against ${j}`);
    });
  });
  t.same([...ordered].reverse().sort(comparePrecedence), ordered);
  fc.assert(
    fc.property(fc.shuffledSubarray(ordered, { minLength: ordered.length }), (shuffled) => {
      t.same(shuffled.sort(comparePrecedence), ordered);
    }),
    { numRuns: 50 },
  );
});

t.test("weights", async (t) => {
  const backends = (...weights: number[]): { weight: number; id: number }[] =>
    weights.map((weight, id) => ({ weight, id }));
  const rows: readonly (readonly [weights: number[], random: number, expected: number | undefined])[] = [
    [[], 0.5, undefined],
    [[0], 0, undefined],
    [[0, 0], 0.5, undefined],
    [[1], 0.999, 0],
    [[90, 10], 0, 0],
    [[90, 10], 0.899, 0],
    [[90, 10], 0.9, 1],
    [[90, 10], 0.999999, 1],
    [[0, 10], 0, 1],
    [[10, 0], 0.99999999, 0],
    [[0.5, 99.5], 0.004, 0],
    [[0.5, 99.5], 0.006, 1],
  ];
  for (const [weights, random, expected] of rows)
    t.equal(pickWeighted(backends(...weights), random)?.id, expected, `${weights} at ${random}`);
  fc.assert(
    fc.property(
      fc.array(fc.nat(1000), { minLength: 1, maxLength: 6 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (weights, random) => {
        const picked = pickWeighted(backends(...weights), random);
        return weights.some((weight) => weight > 0) ? (picked?.weight ?? 0) > 0 : picked === undefined;
      },
    ),
  );
  const counts = [0, 0, 0];
  for (let i = 0; i < 1000; i++) {
    const id = pickWeighted(backends(80, 15, 5), i / 1000)?.id ?? 0;
    counts[id] = (counts[id] ?? 0) + 1;
  }
  t.same(counts, [800, 150, 50], "shares are exact over uniform randomness");
});
