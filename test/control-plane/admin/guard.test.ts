/** Which requests the admin API serves at all, and which path they mean. */
import t from "tap";
import { findRoute, type AdminRoute } from "../../../control-plane/admin/admin-server.js";
import { guard, type GuardedRequest } from "../../../control-plane/admin/guard.js";

const good: GuardedRequest = {
  host: "127.0.0.1:15014",
  origin: undefined,
  fetchSite: undefined,
  authorization: "Bearer secret",
  localAddress: "127.0.0.1",
};
const isToken = (text: string): boolean => text === "secret";

void t.test("host before origin before token", async (t) => {
  const cases: readonly [Partial<GuardedRequest>, number | undefined][] = [
    [{}, undefined],
    [{ host: "localhost" }, undefined],
    [{ host: "LOCALHOST:1" }, undefined],
    [{ host: "[::1]:15014" }, undefined],
    [{ host: "10.1.2.3:15014", localAddress: "::ffff:10.1.2.3" }, undefined],
    [{ host: "10.1.2.4:15014", localAddress: "10.1.2.3" }, 421],
    [{ host: undefined }, 421],
    [{ host: "" }, 421],
    [{ host: "evil.example" }, 421],
    [{ host: "127.0.0.1.evil.example" }, 421],
    [{ host: "localhost.evil.example" }, 421],
    [{ host: "localhost@evil.example" }, 421],
    [{ host: "evil.example", origin: "http://evil.example", authorization: "" }, 421],
    [{ origin: "http://evil.example" }, 403],
    [{ origin: "null" }, 403],
    [{ origin: "https://127.0.0.1:15014" }, 403],
    [{ origin: "http://127.0.0.1:15014" }, undefined],
    [{ fetchSite: "cross-site" }, 403],
    [{ fetchSite: "same-origin" }, undefined],
    [{ origin: "http://evil.example", authorization: "" }, 403],
    [{ authorization: undefined }, 401],
    [{ authorization: "Basic secret" }, 401],
    [{ authorization: "Bearer secret2" }, 401],
    [{ authorization: "Bearer  secret" }, 401],
    [{ authorization: "bearer secret" }, undefined],
  ];
  for (const [change, status] of cases)
    t.equal(guard({ ...good, ...change }, isToken)?.status, status, JSON.stringify(change));
  t.equal(guard({ ...good, authorization: undefined }, undefined), undefined, "open paths need no token");
  t.equal(guard({ ...good, host: "evil.example" }, undefined)?.status, 421, "but the right host");
});

void t.test("paths", async (t) => {
  const route = (method: AdminRoute["method"], path: string): AdminRoute => ({
    method,
    path,
    handle: () => ({ status: 200, body: undefined }),
  });
  const routes = [
    route("GET", "/v1/x/:kind?/:name?"),
    route("DELETE", "/v1/x/:kind/:name"),
    route("GET", "/ready"),
  ];
  const found = (method: string, path: string) => {
    const { route, parameters, isKnownPath } = findRoute(routes, method, path);
    return [route?.method, parameters, isKnownPath];
  };
  t.same(found("GET", "/v1/x"), ["GET", {}, true]);
  t.same(found("GET", "/v1/x/a/b%2Fc"), ["GET", { kind: "a", name: "b/c" }, true]);
  t.same(found("DELETE", "/v1/x/a/b"), ["DELETE", { kind: "a", name: "b" }, true]);
  t.same(found("DELETE", "/v1/x/a"), [undefined, {}, true]);
  t.same(found("POST", "/ready"), [undefined, {}, true]);
  t.same(found("GET", "/v1/x/a/b/c"), [undefined, {}, false]);
  t.same(found("GET", "/v1/x/%zz"), [undefined, {}, false]);
  t.same(found("GET", "/"), [undefined, {}, false]);
});
