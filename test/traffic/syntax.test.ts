/** The canonical authority, what may be written as a header, and which trailers are dropped. */
import fc from "fast-check";
import t from "tap";
import { canonicalAuthority, hostOf } from "../../src/traffic/authority.js";
import { isHeaderName, isSafeHeaderValue } from "../../src/traffic/headers.js";
import { isForbiddenTrailer } from "../../src/traffic/trailers.js";

t.test("an authority has one spelling", async (t) => {
  const cases: readonly (readonly [text: string, canonical: string | undefined, host?: string])[] = [
    ["orders.mesh", "orders.mesh", "orders.mesh"],
    ["Orders.Mesh:8080", "orders.mesh:8080", "orders.mesh"],
    ["orders.mesh.", "orders.mesh", "orders.mesh"],
    ["Orders.mesh.:80", "orders.mesh:80", "orders.mesh"],
    ["my_service", "my_service", "my_service"],
    ["10.0.0.1:0", "10.0.0.1:0", "10.0.0.1"],
    ["a:65535", "a:65535", "a"],
    ["[::1]", "[::1]", "[::1]"],
    ["[2001:DB8::1]:443", "[2001:db8::1]:443", "[2001:db8::1]"],
    ["", undefined],
    [".", undefined],
    [".a", undefined],
    ["a..b", undefined],
    ["a..", undefined],
    [":80", undefined],
    ["a:", undefined],
    ["a:65536", undefined],
    ["a:000080", undefined],
    ["a:8o", undefined],
    ["a:-1", undefined],
    ["a:80:80", undefined],
    ["user@a", undefined],
    ["a/path", undefined],
    ["a?b", undefined],
    ["a#b", undefined],
    ["a,b", undefined],
    ["a b", undefined],
    ["a\tb", undefined],
    ["a%41", undefined],
    ["a\\b", undefined],
    ["\u00e9.mesh", undefined],
    ["\u212a.mesh", undefined],
    ["[::1", undefined],
    ["[]", undefined],
    ["[::g]", undefined],
    ["[::1]x", undefined],
    ["[fe80::1%eth0]", undefined],
    ["[127.0.0.1]", undefined],
    ["::1", undefined],
    ["a".repeat(255), "a".repeat(255)],
    ["a".repeat(256), undefined],
  ];
  for (const [text, canonical, host] of cases) {
    t.equal(canonicalAuthority(text), canonical, JSON.stringify(text));
    if (canonical !== undefined && host !== undefined) t.equal(hostOf(canonical), host);
  }
});

t.test("the canonical authority is a fixed point", async () => {
  const part = fc.constantFrom("a", "B", "9", ".", "-", "_", ":", "8", "[", "]", "::1", "@", "/", "\u017f");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const authority = canonicalAuthority(parts.join(""));
      if (authority === undefined) return true;
      return canonicalAuthority(authority) === authority && authority === authority.toLowerCase();
    }),
  );
});

t.test("header values that would end the line are not safe", async (t) => {
  for (const value of ["", "a b", "a\tb", "caf\u00e9", '"<>\\'])
    t.ok(isSafeHeaderValue(value), JSON.stringify(value));
  for (const value of ["a\r\nb", "a\rb", "a\nb", "a\0b", "\x1b[0m", "\x7f", "\u010a", "\u{1f600}"]) {
    t.notOk(isSafeHeaderValue(value), JSON.stringify(value));
  }
  for (const name of ["X-A", "__proto__", "a"]) t.ok(isHeaderName(name), name);
  for (const name of ["", "a b", "a:", "a\r\n", "\u00e9"]) t.notOk(isHeaderName(name), JSON.stringify(name));
});

t.test("framing, routing and credentials are no trailers", async (t) => {
  const refused = [
    "Content-Length",
    "host",
    "AUTHORIZATION",
    "If-Match",
    "X-Forwarded-For",
    "x-remora-error",
  ];
  for (const name of refused) t.ok(isForbiddenTrailer(name), name);
  for (const name of ["grpc-status", "X-Checksum", "Server-Timing"]) t.notOk(isForbiddenTrailer(name), name);
});
