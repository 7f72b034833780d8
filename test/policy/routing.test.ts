/** The filters of a route that change or answer a request: header modifiers, URL rewrite, redirect. */
import fc from "fast-check";
import t from "tap";
import type { HeaderModifier, PathMatch, PathRewrite, RedirectConfig } from "../../src/config/snapshot.js";
import { applyHeaderModifier, checkHeaderModifier } from "../../src/policy/header-modifier.js";
import { redirectFor } from "../../src/policy/redirect.js";
import { applyUrlRewrite, checkUrlRewrite, rewriteTarget } from "../../src/policy/url-rewrite.js";
import type { RequestHead } from "../../src/traffic/message.js";

const prefix = (value: string): PathMatch => ({ type: "prefix", value });
const head = (target: string, authority = "api"): RequestHead => ({
  method: "GET",
  target,
  authority,
  upgrade: "",
  version: "1.1",
  headers: ["host", authority, "accept", "*/*"],
});

t.test("headers are set, added and removed, in this order", async (t) => {
  const modifier = (more: Partial<HeaderModifier>): HeaderModifier => ({
    set: [],
    add: [],
    remove: [],
    ...more,
  });
  const rows: readonly (readonly [Partial<HeaderModifier>, before: string[], after: string[]])[] = [
    [{ set: [["X-A", "2"]] }, ["x-a", "1"], ["x-a", "2"]],
    [{ set: [["X-A", "2"]] }, ["b", "1"], ["b", "1", "X-A", "2"]],
    [{ set: [["x-a", "2"]] }, ["X-A", "1", "b", "1", "x-A", "3"], ["X-A", "2", "b", "1"]],
    [{ add: [["x-a", "2"]] }, ["x-a", "1"], ["x-a", "1", "x-a", "2"]],
    [{ remove: ["x-a"] }, ["X-A", "1", "b", "1", "x-a", "2"], ["b", "1"]],
    [{ set: [["a", "1"]], add: [["a", "2"]], remove: ["a"] }, ["b", "1"], ["b", "1"]],
    [{ set: [["a", ""]] }, [], ["a", ""]],
    [{ set: [["__proto__", "1"]] }, [], ["__proto__", "1"]],
  ];
  for (const [given, before, after] of rows) {
    const headers = [...before];
    applyHeaderModifier(headers, modifier(given));
    t.same(headers, after, JSON.stringify(given));
  }
  const bad: Partial<HeaderModifier>[] = [
    { set: [["x-a", "1\r\nX-Evil: 1"]] },
    { add: [["x-a", "1\nb"]] },
    { set: [["x-a", "\u0000"]] },
    { set: [["x-a", " led by a space"]] },
    { set: [["x-a", "€"]] },
    { set: [["x a", "1"]] },
    { set: [["", "1"]] },
    { set: [["x:", "1"]] },
    { remove: ["X-A"] },
    { remove: ["a\r\nb"] },
    { set: [["Host", "evil"]] },
    { add: [["Transfer-Encoding", "chunked"]] },
    { remove: ["content-length"] },
    { set: [["Connection", "x"]] },
  ];
  for (const given of bad)
    t.throws(() => checkHeaderModifier(modifier(given), "HTTPRoute/default/r"), {
      name: "ConfigError",
      message: /^HTTPRoute\/default\/r: [^\r\n\0]*$/,
    });
  t.doesNotThrow(() =>
    checkHeaderModifier(
      modifier({ set: [["X-A", "a b\tc"]], add: [["Set-Cookie", "a=b; Path=/"]], remove: ["x-b"] }),
      "p",
    ),
  );
});

t.test("path rewrites follow the table of Gateway API", async (t) => {
  const rows: readonly (readonly [target: string, matched: string, replacement: string, result: string])[] = [
    ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz/", "/xyz/bar"],
    ["/foo", "/foo", "/xyz", "/xyz"],
    ["/foo/", "/foo", "/xyz", "/xyz/"],
    ["/foo/bar", "/foo", "", "/bar"],
    ["/foo/", "/foo", "", "/"],
    ["/foo", "/foo", "", "/"],
    ["/foo/", "/foo", "/", "/"],
    ["/foo", "/foo", "/", "/"],
    ["/foo/bar?a=/foo", "/foo", "/xyz", "/xyz/bar?a=/foo"],
    ["/bar?q", "/", "/xyz", "/xyz/bar?q"],
    ["/?q", "/", "/xyz", "/xyz/?q"],
    ["/a-b/c", "/a%2Db", "/x", "/x/c"],
  ];
  for (const [target, matched, value, result] of rows)
    t.equal(
      rewriteTarget(target, { type: "prefix", value }, prefix(matched)),
      result,
      `${target} ${matched} -> ${value}`,
    );
  const full: PathRewrite = { type: "full", value: "/new" };
  t.equal(rewriteTarget("/a/b?c=d", full, prefix("/")), "/new?c=d");
  t.equal(rewriteTarget("/a", { type: "full", value: "" }, prefix("/")), "/");
  t.equal(rewriteTarget("*", full, prefix("/")), "*");
  t.equal(rewriteTarget("/a", { type: "prefix", value: "/x" }, { type: "exact", value: "/a" }), "/a");
});

t.test("a hostname rewrite changes Host and authority together", async (t) => {
  const request = head("/a?b", "api:80");
  applyUrlRewrite(request, { hostname: "other.example", path: { type: "full", value: "/x" } }, prefix("/"));
  t.match(request, {
    target: "/x?b",
    authority: "other.example",
    headers: ["host", "other.example", "accept", "*/*"],
  });
  for (const bad of [
    { hostname: "a b" },
    { hostname: "a\r\nb" },
    { hostname: "Upper" },
    { hostname: "a:80" },
    { hostname: "" },
    { hostname: "a/b" },
    { hostname: "a".repeat(254) },
    { path: { type: "full", value: "no-slash" } },
    { path: { type: "full", value: "/a?b" } },
    { path: { type: "prefix", value: "/a\r\nb" } },
    { path: { type: "full", value: "/a b" } },
    { path: { type: "full", value: "*" } },
    { path: { type: "full", value: "/%zz" } },
  ] as const)
    t.throws(() => checkUrlRewrite(bad, "HTTPRoute/default/r"), {
      name: "ConfigError",
      place: "HTTPRoute/default/r",
    });
  for (const good of [
    {},
    { hostname: "a.b-c" },
    { hostname: "[::1]" },
    { path: { type: "prefix", value: "" } },
    { path: { type: "full", value: "/a%20b/" } },
  ] as const)
    t.doesNotThrow(() => checkUrlRewrite(good, "p"));
});

t.test("redirects", async (t) => {
  type Row = readonly [
    redirect: Omit<RedirectConfig, "status">,
    authority: string,
    target: string,
    location: string,
  ];
  const rows: readonly Row[] = [
    [{ hostname: "example.org" }, "api", "/a?b=c", "http://example.org/a?b=c"],
    [{ scheme: "https" }, "api", "/a", "https://api/a"],
    [{ scheme: "https" }, "api:8080", "/a", "https://api/a"],
    [{ scheme: "https", port: 8443 }, "api", "/a", "https://api:8443/a"],
    [{ scheme: "https", port: 443 }, "api", "/a", "https://api/a"],
    [{ scheme: "http", port: 443 }, "api", "/a", "http://api:443/a"],
    [{ port: 80 }, "api:8080", "/a", "http://api/a"],
    [{ port: 8081 }, "api:8080", "/a", "http://api:8081/a"],
    [{}, "api:8080", "/a", "http://api:8080/a"],
    [{}, "api:80", "/a", "http://api/a"],
    [{ hostname: "h" }, "[::1]:8080", "/", "http://h:8080/"],
    [{ port: 81 }, "[::1]", "/", "http://[::1]:81/"],
    [{ path: { type: "full", value: "/x" } }, "api", "/a/b?c", "http://api/x?c"],
    [{ path: { type: "prefix", value: "/x" } }, "api", "/a/b?c", "http://api/x/b?c"],
    [{}, "api", "*", "http://api/"],
    [{}, "api", "/?\u00e9\r\nX: y", "http://api/?%E9%0D%0AX:%20y"],
  ];
  for (const [redirect, authority, target, location] of rows)
    t.same(
      redirectFor(head(target, authority), { ...redirect, status: 307 }, prefix("/a")),
      { status: 307, location },
      location,
    );
  t.equal(
    redirectFor(head("/", "api:443"), { status: 301 }, prefix("/"), "https").location,
    "https://api/",
    "keeps the scheme of the request",
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (authority, target) => {
      const { location } = redirectFor(head(`/${target}`, authority), { status: 302 }, prefix("/"));
      return /^[\x21-\x7e]+$/.test(location);
    }),
  );
});
