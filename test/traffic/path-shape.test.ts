import fc from "fast-check";
import t from "tap";
import { normalizeTarget } from "../../src/traffic/path.js";
import { other, pathShape } from "../../src/traffic/path-shape.js";

t.test("segments that name one thing become one shape", async (t) => {
  const rows: readonly (readonly [target: string, shape: string])[] = [
    ["/", "/"],
    ["/?a=1", "/"],
    ["/users", "/users"],
    ["/users/", "/users/"],
    ["/users/42", "/users/*"],
    ["/users/42/", "/users/*/"],
    ["/users/42/orders/7?token=secret", "/users/*/orders/*"],
    ["/v1/users", "/v1/users"],
    ["/v1beta1/oauth2/sha256", "/v1beta1/oauth2/sha256"],
    ["/users/0f8fad5b-d9cb-469f-a165-70867728950e", "/users/*"],
    ["/blobs/deadbeef01", "/blobs/*"],
    ["/blobs/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/blobs/*"],
    ["/orders/order-12345", "/orders/*"],
    ["/users/ada@example.com", "/users/*"],
    ["/files/%C3%A9t%C3%A9", "/files/*"],
    ["/files/a,b", "/files/*"],
    ["/2026/11/21/report", "/*/*/*/report"],
    ["/shop.v1.Orders/GetOrder", "/shop.v1.Orders/GetOrder"],
    ["/documents:batchGet", "/documents:batchGet"],
    ["/assets/app.min.js", "/assets/app.min.js"],
    ["/.well-known/openid-configuration", "/.well-known/openid-configuration"],
    [`/${"a".repeat(48)}`, `/${"a".repeat(48)}`],
    [`/${"a".repeat(49)}`, "/*"],
    ["/a".repeat(12), "/a".repeat(12)],
    ["/a".repeat(13), other],
    ["*", other],
    ["", other],
    [other, other],
    ["/a/*/b", "/a/*/b"],
    ["/a/b?c/1234/d", "/a/b"],
  ];
  for (const [target, shape] of rows) t.equal(pathShape(target), shape, target);
});

const anyTarget = fc
  .array(
    fc.oneof(
      fc.stringMatching(/^[\x21-\x7e]{0,60}$/),
      fc.uuid(),
      fc.nat().map(String),
      fc.constantFrom("users", "v1", "..", "%2F"),
    ),
    { maxLength: 16 },
  )
  .map((segments) => normalizeTarget(`/${segments.join("/")}`))
  .filter((target) => target !== undefined);

t.test("a shape is stable and has a bound", async () => {
  fc.assert(
    fc.property(anyTarget, (target) => {
      const shape = pathShape(target);
      if (shape.length > 12 * 49 + 1) return false;
      return (
        pathShape(shape) === shape && pathShape(target) === shape && pathShape(`${target}?x=/1`) === shape
      );
    }),
    { numRuns: 2000 },
  );
});

t.test("whatever number stands in a segment, the shape is the same", async () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n }), fc.uuid(), (number, uuid) => {
      return pathShape(`/a/${number}/b`) === "/a/*/b" && pathShape(`/a/${uuid}/b`) === "/a/*/b";
    }),
  );
});
