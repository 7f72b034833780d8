/** The layer that lets through who may: what it tells whom, what it counts, and when nothing is known yet. */
import t from "tap";
import { authorizationLog } from "../../src/authorization-log.js";
import type { AuthorizationConfig, AuthorizationRuleConfig } from "../../src/config/authorization-config.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { ProxyError } from "../../src/errors/proxy-error.js";
import { Authorization, prepareAuthorization } from "../../src/proxy/authorization.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const web = "spiffe://mesh.local/ns/default/svc/web";

const config = (action: AuthorizationRuleConfig["action"], isAudit = false): AuthorizationConfig => ({
  stages: [
    {
      policies: [
        {
          name: "AuthorizationPolicy/default/p",
          rules: [
            {
              name: "0",
              action,
              to: [[{ attribute: "request.path", values: [{ type: "prefix", value: "/admin" }] }]],
            },
          ],
          ...(isAudit ? { isAudit: true as const } : {}),
        },
      ],
      otherwise: "allow",
    },
  ],
});

function start(authorization?: AuthorizationConfig | null) {
  const metrics = new Metrics();
  const clock = new FakeClock();
  const lines: unknown[] = [];
  const layer = new Authorization({
    port: 8080,
    metrics: (...labels) => new PolicyMetrics(metrics).authorization(...labels),
    onDecision: authorizationLog((level, message, fields) => lines.push([level, message, fields]), clock),
  });
  if (authorization !== undefined) layer.use(prepareAuthorization(authorization ?? undefined));
  const app = new ScriptedService();
  const service = layer.layer(app);
  const send = (target: string, peerId?: string) => {
    const { head } = scriptedRequest();
    head.target = target;
    const request = new RequestContext(head, null, 0, "10.0.0.1:999", peerId);
    let refusal: ProxyError | null = null;
    const reply = new RecordedReply();
    const end = reply.end.bind(reply);
    reply.end = (error) => {
      refusal = error;
      end(error);
    };
    const before = app.attempts.length;
    service.call(request, reply);
    if (app.attempts.length > before) app.last.respond(200);
    return { outcome: reply.outcome, request, refusal: refusal as ProxyError | null };
  };
  const counted = (): string[] =>
    metrics.authorizations
      .samples()
      .filter(({ value }) => value > 0)
      .map(({ sharedLabels: at, value }) => `${at["policy"]} ${at["rule"]} ${at["outcome"]} ${value}`);
  return { layer, send, counted, lines, clock };
}

t.test("nobody is let through before anything is known", async (t) => {
  const { layer, send } = start();
  t.equal(send("/", web).outcome, "not_ready");
  layer.use(prepareAuthorization(undefined));
  t.equal(send("/", web).outcome, "200");
});

t.test("callers in the mesh learn the rule, others nothing; the log has it in both cases", async (t) => {
  const { send, counted } = start(config("DENY"));
  const name = "AuthorizationPolicy/default/p/0";
  const logAs = `rbac_access_denied_matched_policy[${name}]`;
  t.match(send("/admin", web).refusal, { detail: name, headers: ["x-remora-denied-by", name], logAs });
  t.match(send("/admin").refusal, { code: "denied", detail: "", headers: [], logAs });
  t.equal(send("/x", web).outcome, "200");
  t.same(counted(), ["AuthorizationPolicy/default/p 0 denied 2", "-  allowed 1"].sort());
});

t.test("tried out, and audited", async (t) => {
  const tried = start(config("DENY", true));
  const { outcome, request } = tried.send("/admin", web);
  t.equal(outcome, "200");
  t.equal(request.authorization, "would_deny[AuthorizationPolicy/default/p/0]");
  t.equal(tried.send("/x", web).request.authorization, "");
  t.ok(tried.counted().includes("AuthorizationPolicy/default/p 0 would_deny 1"));
  const audit = start(config("AUDIT"));
  t.equal(audit.send("/admin", web).request.authorization, "audit[AuthorizationPolicy/default/p/0]");
});

t.test("one line a second, with the number of those unsaid", async (t) => {
  const { send, lines, clock } = start(config("DENY"));
  for (let n = 0; n < 1000; n++) send(`/admin?secret=${n}`, web);
  const line = { rule: "AuthorizationPolicy/default/p/0", caller: web, method: "GET", path: "/admin" };
  t.same(lines, [["warn", "request denied", line]]);
  clock.advance(1000);
  send("/admin");
  t.same(lines.slice(1), [["warn", "request denied", { ...line, caller: "10.0.0.1:999", more: 999 }]]);
});

t.test("what does not compile is refused before anything changes", async (t) => {
  const bad: AuthorizationConfig = {
    stages: [
      {
        policies: [
          {
            name: "p",
            rules: [
              {
                name: "0",
                action: "DENY",
                when: [{ attribute: "request.path", values: [{ type: "regex", value: "(" }] }],
              },
            ],
          },
        ],
        otherwise: "allow",
      },
    ],
  };
  t.throws(() => prepareAuthorization(bad), ConfigError);
});
