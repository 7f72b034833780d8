/** Consul's intentions: what the API lists, compiled, and then decided by the code that sidecars run. */
import fc from "fast-check";
import t from "tap";
import { readIntentions } from "../../control-plane/catalog/intention.js";
import { compileIntentions } from "../../control-plane/compiler/compile-intentions.js";
import { compileAuthorization, nameOf } from "../../src/policy/authorization-decision.js";
import type { Verdict } from "../../src/config/authorization-config.js";

const trustDomain = "11111111-2222-3333-4444-555555555555.consul";
const idOf = (service: string, datacenter = "dc1", domain = trustDomain): string =>
  `spiffe://${domain}/ns/default/dc/${datacenter}/svc/${service}`;

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: readonly string[];
}

/** The verdict, and who gave it, on a call to `api`. */
function judge(
  listed: readonly object[],
  principal: string | undefined,
  asked: Asked | undefined = {},
  { otherwise = "allow", takesRequests = true }: { otherwise?: Verdict; takesRequests?: boolean } = {},
): string {
  const list = readIntentions(listed);
  if (list === undefined) throw new Error("not read");
  const stage = compileIntentions({ list, otherwise }, "api", { trustDomain, takesRequests });
  const { method = "GET", path = "/", headers = [] } = asked;
  const { verdict, by } = compileAuthorization({ stages: [stage] }).decide({
    ...{ principal, sourceIp: "127.0.0.1", port: 8080 },
    http: takesRequests ? { method, authority: "api", path, headers } : undefined,
  });
  return `${verdict} ${by === null ? "default" : nameOf(by)}`;
}

const intention = (SourceName: string, DestinationName: string, Action: string, more: object = {}) => ({
  ...{ SourceNS: "default", DestinationNS: "default", SourceType: "consul" },
  ...{ SourceName, DestinationName, Action, ...more },
});

t.test("the most specific intention decides, in whatever order they are listed", async (t) => {
  const all = [
    intention("*", "*", "deny", { Precedence: 5 }),
    intention("web", "*", "allow", { Precedence: 6 }),
    intention("*", "api", "deny", { Precedence: 8 }),
    intention("web", "api", "allow", { Precedence: 9 }),
    intention("web", "other", "deny", { Precedence: 9 }),
  ];
  const table: readonly (readonly [readonly object[], string | undefined, Verdict, string])[] = [
    [all, idOf("web"), "allow", "allow intention/web/api/source"],
    [[...all].reverse(), idOf("web"), "allow", "allow intention/web/api/source"],
    [all, idOf("job"), "allow", "deny intention/*/api/source"],
    [all.slice(0, 2), idOf("web"), "allow", "allow intention/web/*/source"],
    [all.slice(0, 2), idOf("job"), "allow", "deny intention/*/*/source"],
    [all.slice(1, 2), idOf("job"), "allow", "allow default"],
    [all.slice(1, 2), idOf("job"), "deny", "deny implicit-deny"],
    [[], idOf("web"), "deny", "deny implicit-deny"],
    [[], idOf("web"), "allow", "allow default"],
    // Of all datacenters of the mesh, of no other mesh, and never a part of a name.
    [all.slice(3, 4), idOf("web", "dc2"), "deny", "allow intention/web/api/source"],
    [all.slice(3, 4), idOf("web", "dc1", "other.consul"), "deny", "deny implicit-deny"],
    [all.slice(3, 4), idOf("web2"), "deny", "deny implicit-deny"],
    [all.slice(3, 4), idOf("we"), "deny", "deny implicit-deny"],
    // Without an identity nothing is granted, and refusals hold.
    [[intention("*", "*", "allow")], undefined, "deny", "deny implicit-deny"],
    [[intention("*", "*", "deny")], undefined, "allow", "deny intention/*/*/source"],
    // Consul 1.8 and before wrote precedence; whoever does not is sorted by names.
    [
      [intention("*", "api", "deny"), intention("web", "api", "allow")],
      idOf("web"),
      "deny",
      "allow intention/web/api/source",
    ],
  ];
  for (const [listed, principal, otherwise, expected] of table)
    t.equal(judge(listed, principal, {}, { otherwise }), expected);
});

t.test("intentions of others are left out", async (t) => {
  for (const more of [
    { SourceNS: "team" },
    { DestinationNS: "team" },
    { SourcePartition: "east" },
    { SourcePeer: "cluster-2" },
    { SourceSamenessGroup: "all" },
    { SourceType: "external" },
  ])
    t.equal(
      judge([intention("web", "api", "allow", more)], idOf("web"), {}, { otherwise: "deny" }),
      "deny implicit-deny",
    );
  for (const more of [{ SourceNS: "*" }, { DestinationNS: "*" }, { SourcePartition: "default" }])
    t.match(
      judge([intention("web", "api", "allow", more)], idOf("web"), {}, { otherwise: "deny" }),
      /^allow/,
    );
});

t.test("permissions are asked in their order, and then the default", async (t) => {
  const Permissions = [
    { Action: "deny", HTTP: { PathPrefix: "/v1/admin" } },
    { Action: "allow", HTTP: { PathPrefix: "/v1/", Methods: ["GET", "HEAD"] } },
    { Action: "allow", HTTP: { PathExact: "/health" } },
    { Action: "allow", HTTP: { PathRegex: "/users/[0-9]+" } },
    {
      Action: "allow",
      HTTP: {
        Header: [
          { Name: "X-Team", Exact: "a" },
          { Name: "x-debug", Present: true, Invert: true },
        ],
      },
    },
    { Action: "allow", HTTP: { Header: [{ Name: "x-kind", Exact: "b", Invert: true }], PathExact: "/kind" } },
  ];
  const listed = [
    intention("web", "api", "", { Permissions, Precedence: 9 }),
    intention("*", "api", "allow", { Precedence: 8 }),
  ];
  const table: readonly (readonly [Asked, string])[] = [
    [{ path: "/v1/x" }, "allow intention/web/api/1"],
    [{ path: "/v1/x", method: "POST" }, "deny intention/web/api/source"],
    [{ path: "/v1/admin" }, "deny intention/web/api/0"],
    [{ path: "/v1/administrators" }, "deny intention/web/api/0"],
    [{ path: "/health" }, "allow intention/web/api/2"],
    [{ path: "/health/x" }, "deny intention/web/api/source"],
    [{ path: "/users/17" }, "allow intention/web/api/3"],
    [{ path: "/users/17x" }, "deny intention/web/api/source"],
    [{ headers: ["x-team", "a"] }, "allow intention/web/api/4"],
    [{ headers: ["x-team", "b"] }, "deny intention/web/api/source"],
    [{ headers: ["x-team", "a", "x-debug", ""] }, "deny intention/web/api/source"],
    [{ path: "/kind", headers: ["x-kind", "c"] }, "allow intention/web/api/5"],
    [{ path: "/kind", headers: ["x-kind", "b"] }, "deny intention/web/api/source"],
    // As Envoy: what is not there is not unequal.
    [{ path: "/kind" }, "deny intention/web/api/source"],
  ];
  for (const [asked, expected] of table)
    t.equal(judge(listed, idOf("web"), asked, { otherwise: "deny" }), expected, JSON.stringify(asked));
  t.equal(judge(listed, idOf("web"), { path: "/none" }), "allow intention/web/api/source", "default allow");
  t.equal(
    judge(listed, idOf("job"), { path: "/none" }, { otherwise: "deny" }),
    "allow intention/*/api/source",
  );
  t.equal(
    judge(listed, idOf("web"), {}, { takesRequests: false }),
    "deny intention/web/api/source",
    "tcp is denied",
  );
});

t.test("what is not understood lets nobody through", async (t) => {
  for (const more of [
    { Permissions: [{ Action: "allow", HTTP: {} }] },
    { Permissions: [{ Action: "allow" }] },
    { Permissions: [{ Action: "allow", HTTP: { PathRegex: "(" } }] },
    { Permissions: [{ Action: "allow", HTTP: { PathExact: "/", PathPrefix: "/" } }] },
    { Permissions: [{ Action: "allow", HTTP: { Header: [{ Name: "x" }] } }] },
    { Permissions: [{ Action: "allow", HTTP: { Header: [{ Name: "x", Regex: "(" }] } }] },
    {
      Permissions: [
        { Action: "allow", HTTP: { PathExact: "/" } },
        { Action: "allow", HTTP: { Future: 1 } },
      ],
    },
    { Permissions: [{ Action: "allow", HTTP: { PathExact: "/" }, JWT: { Providers: [] } }] },
    { Permissions: [{ Action: "allow", HTTP: { PathExact: "/", Future: 1 } }] },
    { JWT: { Providers: [{ Name: "okta" }] } },
    { Action: "maybe" },
  ])
    t.equal(
      judge([intention("web", "api", "allow", more)], idOf("web"), { path: "/" }),
      "deny intention/web/api/source",
      JSON.stringify(more),
    );
  t.equal(readIntentions({}), undefined);
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (body) => {
      const list = readIntentions(body);
      if (list === undefined) return false;
      compileAuthorization({
        stages: [compileIntentions({ list, otherwise: "deny" }, "api", { trustDomain, takesRequests: true })],
      });
      return true;
    }),
  );
});
