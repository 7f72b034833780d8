import fc from "fast-check";
import t from "tap";
import { hasEncodedSeparator, normalizeTarget, pathEndOf } from "../../src/traffic/path.js";

t.test("one canonical path for every spelling", async (t) => {
  const rows: readonly (readonly [target: string, canonical: string | undefined])[] = [
    ["/", "/"],
    ["/a/b", "/a/b"],
    ["/a/", "/a/"],
    ["*", "*"],
    ["/.well-known/x", "/.well-known/x"],
    ["/...", "/..."],
    ["/a.b/..c/d..", "/a.b/..c/d.."],
    // Tricks against a rule on /admin (row 17 of the failure modes).
    ["//admin", "/admin"],
    ["/./admin", "/admin"],
    ["/x/../admin", "/admin"],
    ["/%2e%2e/admin", "/admin"],
    ["/x/.%2E/admin", "/admin"],
    ["/x/%2e/../admin", "/admin"],
    ["/adm%69n", "/admin"],
    ["/%61dmin", "/admin"],
    ["//host/admin", "/host/admin"],
    ["/../../admin", "/admin"],
    ["/x//../admin", "/admin"],
    ["/admin;x=1", "/admin;x=1"],
    ["/ADMIN", "/ADMIN"],
    ["/admin?", "/admin?"],
    ["/%2Fadmin", "/%2Fadmin"],
    ["/admin%2f", "/admin%2F"],
    ["/a%5cb", "/a%5Cb"],
    ["/\\admin", undefined],
    ["/x/..;/admin", undefined],
    ["/x/..;a=b/admin", undefined],
    ["/.;/admin", undefined],
    ["/x/%2e%2e;/admin", undefined],
    ["/admin#f", undefined],
    ["/admin?a#f", undefined],
    ["/admin%00", undefined],
    ["/adm\u0000in", undefined],
    ["/a b", undefined],
    ["/a?b c", undefined],
    ["/a\r\nX: y", undefined],
    ["/a\u00ff", undefined],
    ["/a\u007f", undefined],
    ["", undefined],
    ["admin", undefined],
    ["http://h/admin", undefined],
    ["*a", undefined],
    // Percent-encoding.
    ["/%", undefined],
    ["/%2", undefined],
    ["/%zz", undefined],
    ["/%2?a", undefined],
    ["/a%+1", undefined],
    ["/%7Euser/%2D%5f", "/~user/-_"],
    ["/%25%32%65", "/%252e"], // decoded once: stays an encoded percent sign
    ["/%252e%252e/x", "/%252e%252e/x"],
    ["/%c3%a9", "/%C3%A9"],
    ["/%0d%0a", "/%0D%0A"],
    // Overlong UTF-8 of "/" and "." (RFC 3629 §3), and bytes that never occur.
    ["/%c0%af", undefined],
    ["/%C1%9c", undefined],
    ["/%e0%80%af", undefined],
    ["/%f0%80%80%af", undefined],
    ["/%f8%88%80%80%80", undefined],
    ["/%ff", undefined],
    ["/%e0%a4%85", "/%E0%A4%85"],
    ["/%f0%9f%98%80", "/%F0%9F%98%80"],
    ["/%e9", "/%E9"],
    // Trailing segments.
    ["/a/.", "/a/"],
    ["/a/..", "/"],
    ["/a/b/..", "/a/"],
    ["/a//", "/a/"],
    ["///", "/"],
    ["/..", "/"],
    // The query is nobody's business.
    ["/a/../b?c/../d=%2e%zz//\\", "/b?c/../d=%2e%zz//\\"],
    ["/a?x=/../y", "/a?x=/../y"],
  ];
  for (const [target, canonical] of rows) t.equal(normalizeTarget(target), canonical, JSON.stringify(target));
});

t.test("says when a separator is encoded in the path", async (t) => {
  for (const [target, expected] of [
    ["/a%2Fb", true],
    ["/a%5Cb?x", true],
    ["/a?%2F", false],
    ["/a?%5C%2F", false],
    ["/a/b", false],
  ] as const)
    t.equal(hasEncodedSeparator(target), expected, target);
  t.equal(pathEndOf("/a?b?c"), 2);
  t.equal(pathEndOf("/a"), 2);
});

t.test("properties of canonical targets", async () => {
  const piece = fc.constantFrom(
    ..."/ . .. // %2e %2E %2f %5c %00 %c0 %41 %7e a B ; ..; ? # \\ % é".split(" "),
    "\u0001",
  );
  const target = fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join("")}`);
  fc.assert(
    fc.property(target, (raw) => {
      const canonical = normalizeTarget(raw);
      if (canonical === undefined) return;
      const path = canonical.slice(0, pathEndOf(canonical));
      const isClean =
        path.startsWith("/") &&
        !path.includes("//") &&
        !path.split("/").some((segment) => segment === "." || segment === "..") &&
        !/%(?:2[DE]|5F|7E|[46][1-9A-F]|[57][0-9A])|[^\x21-\x7e]|%00/i.test(path) &&
        !/%.?[a-f]/.test(path);
      const query = raw.includes("?") ? raw.slice(raw.indexOf("?")) : "";
      if (!isClean) throw new Error(`not canonical: ${raw} -> ${canonical}`);
      if (normalizeTarget(canonical) !== canonical) throw new Error(`no fixed point: ${raw}`);
      if (canonical.slice(path.length) !== query) throw new Error(`query changed: ${raw}`);
    }),
    { numRuns: 5000 },
  );
  // Anything at all: never throws, and never lets a control character through.
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (raw) => {
      const canonical = normalizeTarget(`/${raw}`);
      return canonical === undefined || !/[\x00-\x20#]/.test(canonical);
    }),
    { numRuns: 2000 },
  );
});
