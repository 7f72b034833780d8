/** Who may do what: the decision alone, as tables. */
import t from "tap";
import type {
  AttributeMatch,
  AuthorizationConfig,
  AuthorizationRuleConfig,
  TextMatch,
} from "../../src/config/authorization-config.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { AuthorizationAttributes, HttpAttributes } from "../../src/policy/authorization-attributes.js";
import { compileAuthorization, decide, nameOf } from "../../src/policy/authorization-decision.js";

const web = "spiffe://mesh.local/ns/default/svc/web";
const exact = (value: string): TextMatch => ({ type: "exact", value });
const prefix = (value: string): TextMatch => ({ type: "prefix", value });
const suffix = (value: string): TextMatch => ({ type: "suffix", value });
const template = (value: string): TextMatch => ({ type: "template", value });
const present: TextMatch = { type: "present", value: "" };

const asks = (
  http: Partial<HttpAttributes> = {},
  principal: string | undefined = web,
): AuthorizationAttributes => ({
  principal,
  sourceIp: "10.1.2.3",
  port: 8080,
  http: { method: "GET", authority: "api", path: "/", headers: [], ...http },
});
const plain = (http: Partial<HttpAttributes> = {}): AuthorizationAttributes => ({
  ...asks(http),
  principal: undefined,
});
const tcp = (principal: string | undefined = web): AuthorizationAttributes => ({
  principal,
  sourceIp: "10.1.2.3",
  port: 8080,
  http: undefined,
});

type Rule = Omit<AuthorizationRuleConfig, "name" | "action">;

/** Istio's stages, of one rule. */
function istio(action: AuthorizationRuleConfig["action"], rule: Rule, isAudit?: true): AuthorizationConfig {
  const policy = {
    name: "AuthorizationPolicy/default/p",
    rules: [{ name: "0", action, ...rule }],
    ...(isAudit === undefined ? {} : { isAudit }),
  };
  if (action === "ALLOW" && isAudit)
    return { stages: [{ policies: [policy], otherwise: "allow", otherwiseInAudit: "deny" }] };
  return { stages: [{ policies: [policy], otherwise: action === "ALLOW" ? "deny" : "allow" }] };
}

const verdict = (config: AuthorizationConfig, it: AuthorizationAttributes): string => {
  const { verdict, by } = decide(config, it);
  return by === null ? verdict : `${verdict} ${nameOf(by)}`;
};
const matches = (action: "ALLOW" | "DENY", rule: Rule, it: AuthorizationAttributes): boolean =>
  (decide(istio(action, rule), it).verdict === "allow") === (action === "ALLOW");

t.test("principals are whole texts, and * stands at an end only", async (t) => {
  const table: [TextMatch, string | undefined, boolean][] = [
    [exact("mesh.local/ns/default/svc/web"), web, true],
    [exact("mesh.local/ns/default/svc/web"), "spiffe://meshXlocal/ns/default/svc/web", false],
    [exact("mesh.local/ns/default/svc/web"), "spiffe://mesh.local/ns/default/svc/web2", false],
    [exact("mesh.local/ns/default/svc/web"), "spiffe://evil/mesh.local/ns/default/svc/web", false],
    [prefix("mesh.local/ns/default/"), web, true],
    [prefix("mesh.local/ns/default/"), "spiffe://mesh.local/ns/default2/svc/web", false],
    [suffix("/svc/web"), web, true],
    [suffix("/svc/web"), "spiffe://mesh.local/ns/default/svc/notweb", false],
    [present, web, true],
    [present, undefined, false],
  ];
  for (const [value, principal, expected] of table) {
    const rule = { from: [[{ attribute: "source.principal", values: [value] }]] } as const;
    for (const action of ["ALLOW", "DENY"] as const) {
      const it = { ...asks(), principal };
      t.equal(matches(action, rule, it), expected, `${action} ${value.type} ${value.value} of ${principal}`);
      const not = { from: [[{ attribute: "source.principal", notValues: [value] }]] } as const;
      t.equal(
        matches(action, not, it),
        !expected,
        `${action} not ${value.type} ${value.value} of ${principal}`,
      );
    }
  }
});

t.test("namespace, service and trust domain are read from the id", async (t) => {
  const table: [AttributeMatch["attribute"], string, string, boolean][] = [
    ["source.namespace", "default", web, true],
    ["source.namespace", "svc", web, false],
    ["source.namespace", "default", "spiffe://mesh.local/svc/ns/ns/default", true],
    ["source.service", "default/web", web, true],
    ["source.service", "default/web", "spiffe://mesh.local/ns/default/sa/web", true],
    ["source.service", "default/web", "spiffe://dc.consul/ns/default/dc/dc1/svc/web", true],
    ["source.service", "other/web", web, false],
    ["source.trust_domain", "mesh.local", web, true],
    ["source.trust_domain", "mesh.local", "spiffe://mesh.localhost/ns/default/svc/web", false],
  ];
  for (const [attribute, value, principal, expected] of table)
    t.equal(
      matches("ALLOW", { when: [{ attribute, values: [exact(value)] }] }, asks({}, principal)),
      expected,
    );
});

t.test("paths", async (t) => {
  const table: [TextMatch, string, allow: boolean, deny: boolean][] = [
    [exact("/admin"), "/admin", true, true],
    [exact("/admin"), "/admin/", false, false],
    [exact("/admin"), "/ADMIN", false, false],
    [prefix("/admin"), "/admin/x", true, true],
    [suffix(".html"), "/a.html", true, true],
    // A servlet container takes it for /admin.
    [exact("/admin"), "/admin;x=1", false, true],
    [suffix(".html"), "/admin;.html", false, true],
    [prefix("/public/"), "/public/x;a=b/y", true, true],
    [exact("/admin"), "/;a/admin", false, true],
    [exact("/admin"), "/admin%3Bx", false, true],
    // One and the same place.
    [exact("/a:b"), "/a%3Ab", true, true],
    [exact("/a%3Ab"), "/a:b", true, true],
    [exact("/a%20b"), "/a%20b", true, true],
    [exact("/a%C3%A9"), "/a%C3%A9", true, true],
    [template("/foo/{*}"), "/foo/bar", true, true],
    [template("/foo/{*}"), "/foo/bar/baz", false, false],
    [template("/foo/{*}"), "/foo/", false, false],
    [template("/foo/{*}/bar/{**}"), "/foo/x/bar/", true, true],
    [template("/foo/{*}/bar/{**}"), "/foo/x/bar/y/z", true, true],
    [template("/foo/{*}/bar/{**}"), "/foo/x/y/bar/z", false, false],
    [template("/foo/{**}/bar"), "/foo/a/b/bar", true, true],
    [template("/foo/{**}/bar"), "/foo/bar", false, false],
    [template("/{*}/{*}"), "/a/b", true, true],
    [{ type: "regex", value: "/v[0-9]+" }, "/v12", true, true],
    [{ type: "regex", value: "/v[0-9]+" }, "/v12/x", false, false],
    [present, "/", true, true],
  ];
  for (const [value, path, allow, deny] of table) {
    const rule = { to: [[{ attribute: "request.path", values: [value] }]] } as const;
    t.equal(matches("ALLOW", rule, asks({ path })), allow, `ALLOW ${value.value} ${path}`);
    t.equal(matches("DENY", rule, asks({ path })), deny, `DENY ${value.value} ${path}`);
  }
});

t.test("a rule that lets all but a path through is not slipped past by another reading", async (t) => {
  const rule = { to: [[{ attribute: "request.path", notValues: [exact("/admin")] }]] } as const;
  t.equal(matches("ALLOW", rule, asks({ path: "/x" })), true);
  for (const path of ["/admin", "/admin;x", "/;x/admin", "/%3B/admin"])
    t.equal(matches("ALLOW", rule, asks({ path })), false, path);
});

t.test("encoded separators are refused as soon as rules in force look at paths", async (t) => {
  const byPath = { to: [[{ attribute: "request.path", values: [prefix("/")] }]] } as const;
  const byMethod = { to: [[{ attribute: "request.method", values: [exact("GET")] }]] } as const;
  for (const path of ["/a%2Fb", "/a%5Cb"]) {
    t.equal(verdict(istio("ALLOW", byPath), asks({ path })), "deny ambiguous-path");
    t.equal(verdict(istio("DENY", byPath), asks({ path })), "deny ambiguous-path");
    t.equal(verdict(istio("ALLOW", byMethod), asks({ path })), "allow AuthorizationPolicy/default/p/0");
    const tried = decide(istio("DENY", byPath, true), asks({ path }));
    t.match(tried, { verdict: "allow", wouldDeny: { policy: "ambiguous-path" } });
    t.equal(decide(istio("AUDIT", byPath), asks({ path })).wouldDeny, null);
  }
});

t.test("hosts: any case, and without a port any port", async (t) => {
  const table: [TextMatch, string, boolean][] = [
    [exact("Admin.Local"), "admin.local", true],
    [exact("admin.local"), "admin.local:8080", true],
    [exact("admin.local:81"), "admin.local:8080", false],
    [exact("admin.local:81"), "admin.local:81", true],
    [suffix(".Local"), "admin.local:81", true],
    [prefix("admin."), "admin.local", true],
    [exact("[::1]"), "[::1]:80", true],
  ];
  for (const [value, authority, expected] of table) {
    const rule = { to: [[{ attribute: "request.host", values: [value] }]] } as const;
    t.equal(matches("DENY", rule, asks({ authority })), expected, `${value.value} ${authority}`);
  }
});

t.test("headers: every line counts, absent is not empty", async (t) => {
  const role = (values: readonly TextMatch[]): Rule => ({
    when: [{ attribute: "request.header", header: "x-role", values }],
  });
  const notRole = (notValues: readonly TextMatch[]): Rule => ({
    when: [{ attribute: "request.header", header: "x-role", notValues }],
  });
  const table: [Rule, string[], allow: boolean, deny: boolean][] = [
    [role([exact("admin")]), ["X-Role", "admin"], true, true],
    [role([exact("admin")]), [], false, false],
    [role([exact("")]), [], false, false],
    [role([exact("")]), ["x-role", ""], true, true],
    [role([present]), ["x-role", ""], true, true],
    [role([present]), [], false, false],
    // Said twice: refused when one fits, granted when all fit.
    [role([exact("admin")]), ["x-role", "guest", "x-role", "admin"], false, true],
    [role([exact("admin")]), ["x-role", "admin", "x-role", "admin"], true, true],
    [role([exact("admin")]), ["x-role", "guest, admin"], false, true],
    [role([exact("admin"), exact("guest")]), ["x-role", "guest", "x-role", "admin"], true, true],
    // The twin is refused like the header, and grants nothing.
    [role([exact("admin")]), ["X_Role", "admin"], false, true],
    [role([exact("admin")]), ["x-role", "admin", "x_role", "guest"], false, true],
    [notRole([exact("guest")]), [], true, true],
    [notRole([exact("guest")]), ["x-role", "admin"], true, true],
    [notRole([exact("guest")]), ["x-role", "admin", "x-role", "guest"], false, true],
    [notRole([exact("guest")]), ["x-role", "admin,guest"], false, true],
    [notRole([exact("guest")]), ["x-role", "guest"], false, false],
    [role([exact("admin")]), ["__proto__", "admin", "constructor", "x"], false, false],
  ];
  for (const [rule, headers, allow, deny] of table) {
    t.equal(matches("ALLOW", rule, asks({ headers })), allow, `ALLOW ${JSON.stringify([rule, headers])}`);
    t.equal(matches("DENY", rule, asks({ headers })), deny, `DENY ${JSON.stringify([rule, headers])}`);
  }
});

t.test("addresses and ports", async (t) => {
  const from = (...values: string[]): Rule => ({
    from: [[{ attribute: "source.ip", values: values.map(exact) }]],
  });
  const table: [string, string, boolean][] = [
    ["10.1.0.0/16", "10.1.2.3", true],
    ["10.1.0.0/16", "10.2.0.1", false],
    ["10.1.2.3", "::ffff:10.1.2.3", true],
    ["::ffff:10.1.0.0/112", "10.1.2.3", true],
    ["fd00::/8", "fd12::1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    ["10.0.0.0/8", "fe80::1%eth0", false],
    ["fd00::/8", "10.1.2.3", false],
    ["0.0.0.0/0", "10.1.2.3", true],
    ["10.1.2.2/31", "10.1.2.3", true],
    ["10.1.2.2/31", "10.1.2.4", false],
  ];
  for (const [block, sourceIp, expected] of table)
    t.equal(matches("DENY", from(block), { ...asks(), sourceIp }), expected, `${block} ${sourceIp}`);
  for (const bad of ["10.1.2.3/33", "10.1.2", "x", "10.1.2.3/", "10.1.2.3/-1", "fd00::/129", "1.2.3.4/08"])
    t.throws(() => compileAuthorization(istio("DENY", from(bad))), ConfigError, bad);
  const port = (value: string): Rule => ({
    when: [{ attribute: "destination.port", values: [exact(value)] }],
  });
  t.equal(matches("ALLOW", port("8080"), asks()), true);
  t.equal(matches("ALLOW", port("808"), asks()), false);
});

t.test("from and to are alternatives, what stands in one holds together", async (t) => {
  const rule: Rule = {
    from: [
      [{ attribute: "source.namespace", values: [exact("dev")] }],
      [{ attribute: "source.principal", values: [exact("mesh.local/ns/default/svc/web")] }],
    ],
    to: [
      [
        { attribute: "request.method", values: [exact("GET")] },
        { attribute: "request.path", values: [prefix("/info")] },
      ],
      [{ attribute: "request.method", values: [exact("POST")] }],
    ],
  };
  t.equal(matches("ALLOW", rule, asks({ path: "/info/x" })), true);
  t.equal(matches("ALLOW", rule, asks({ path: "/data" })), false);
  t.equal(matches("ALLOW", rule, asks({ path: "/data", method: "POST" })), true);
  t.equal(matches("ALLOW", rule, asks({ path: "/info" }, "spiffe://mesh.local/ns/x/svc/web")), false);
  t.equal(matches("ALLOW", rule, asks({ path: "/info" }, "spiffe://mesh.local/ns/dev/svc/x")), true);
});

t.test("TCP: ALLOW with a field of HTTP never matches, DENY leaves it out", async (t) => {
  const get: AttributeMatch = { attribute: "request.method", values: [exact("GET")] };
  const caller: AttributeMatch = { attribute: "source.namespace", values: [exact("default")] };
  const table: [Rule, allow: boolean, deny: boolean][] = [
    [{ to: [[get]] }, false, true],
    [{ from: [[caller]], to: [[get]] }, false, true],
    [{ from: [[{ ...caller, values: [exact("x")] }]], to: [[get]] }, false, false],
    [{ from: [[caller]] }, true, true],
    [{ to: [[get], [{ attribute: "destination.port", values: [exact("8080")] }]] }, false, true],
    [{ when: [{ attribute: "request.header", header: "x", notValues: [present] }] }, false, true],
  ];
  for (const [rule, allow, deny] of table) {
    t.equal(matches("ALLOW", rule, tcp()), allow, `ALLOW ${JSON.stringify(rule)}`);
    t.equal(matches("DENY", rule, tcp()), deny, `DENY ${JSON.stringify(rule)}`);
  }
});

t.test("stages: all must let through, the first rule that matches decides in each", async (t) => {
  const from = (name: string, action: "ALLOW" | "DENY", service: string, more: Partial<Rule> = {}) => ({
    name,
    action,
    from: [[{ attribute: "source.service" as const, values: [exact(`default/${service}`)] }]],
    ...more,
  });
  const get = { to: [[{ attribute: "request.method" as const, values: [exact("GET")] }]] };
  // An intention with permissions, then the wildcard: exact before wildcard, and no falling through to it.
  const consul: AuthorizationConfig = {
    stages: [
      {
        policies: [
          { name: "intention/web", rules: [from("0", "ALLOW", "web", get), from("default", "DENY", "web")] },
          { name: "intention/*", rules: [{ name: "0", action: "ALLOW" }] },
        ],
        otherwise: "deny",
      },
    ],
  };
  t.equal(verdict(consul, asks()), "allow intention/web/0");
  t.equal(verdict(consul, asks({ method: "POST" })), "deny intention/web/default");
  t.equal(verdict(consul, asks({}, "spiffe://mesh.local/ns/default/svc/x")), "allow intention/*/0");
  const both: AuthorizationConfig = {
    stages: [
      { policies: [{ name: "d", rules: [from("0", "DENY", "evil")] }], otherwise: "allow" },
      ...consul.stages,
      { policies: [{ name: "a", rules: [from("0", "ALLOW", "web")] }], otherwise: "deny" },
    ],
  };
  t.equal(verdict(both, asks()), "allow a/0");
  t.equal(verdict(both, asks({}, "spiffe://mesh.local/ns/default/svc/evil")), "deny d/0");
  t.equal(verdict(both, asks({}, "spiffe://mesh.local/ns/default/svc/x")), "deny implicit-deny");
  t.equal(verdict({ stages: [] }, asks()), "allow");
  t.equal(verdict({ stages: [{ policies: [], otherwise: "deny" }] }, asks()), "deny implicit-deny");
});

t.test("tried out: decides nothing, and tells what it would have refused", async (t) => {
  const get: Rule = { to: [[{ attribute: "request.method", values: [exact("GET")] }]] };
  t.match(decide(istio("DENY", get, true), asks()), {
    verdict: "allow",
    wouldDeny: { policy: "AuthorizationPolicy/default/p", rule: "0" },
  });
  t.equal(decide(istio("DENY", get, true), asks({ method: "PUT" })).wouldDeny, null);
  t.equal(decide(istio("ALLOW", get, true), asks()).wouldDeny, null);
  t.match(decide(istio("ALLOW", get, true), asks({ method: "PUT" })), {
    verdict: "allow",
    wouldDeny: { policy: "implicit-deny", rule: "" },
  });
  const inForce = { name: "0", action: "ALLOW" as const };
  const mixed: AuthorizationConfig = {
    stages: [
      {
        policies: [
          { name: "new", isAudit: true, rules: [{ name: "0", action: "DENY", ...get }] },
          { name: "old", rules: [inForce] },
        ],
        otherwise: "deny",
      },
    ],
  };
  t.match(decide(mixed, asks()), { verdict: "allow", by: { policy: "old" }, wouldDeny: { policy: "new" } });
});

t.test("AUDIT is told and decides nothing", async (t) => {
  const get: Rule = { to: [[{ attribute: "request.method", values: [exact("GET")] }]] };
  t.match(decide(istio("AUDIT", get), asks()), { verdict: "allow", by: null, audited: { rule: "0" } });
  t.equal(decide(istio("AUDIT", get), asks({ method: "PUT" })).audited, null);
});

t.test("most requests cost no object", async (t) => {
  const authorizer = compileAuthorization(istio("ALLOW", {}));
  t.equal(authorizer.decide(asks()), authorizer.decide(plain()));
});
