import t from "tap";
import type { InboundRule } from "../../src/config/inbound-config.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { RateLimits } from "../../src/policy/rate-limits.js";
import { InboundRules, prepareRules } from "../../src/proxy/inbound-rules.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const ruleAt = (path: string, limit: string, burst: number): InboundRule => ({
  name: path,
  match: { path: { type: "prefix", value: path }, headers: [], query: [] },
  rateLimits: [
    {
      name: limit,
      source: "TrafficPolicy/default/p",
      requests: 1,
      perMs: 60_000,
      burst,
      keys: [],
      scope: "local",
      onUnavailable: "local",
      status: 429,
      retryAfter: true,
    },
  ],
});

function start() {
  const metrics = new Metrics();
  const rules = new InboundRules([
    new RateLimits({ clock: new FakeClock(), metrics, counts: undefined, onUnshared: () => undefined }),
  ]);
  const app = new ScriptedService();
  const service = rules.layer(app);
  const send = (target: string): string => {
    const request = scriptedRequest();
    request.head.target = target;
    const reply = new RecordedReply();
    const before = app.attempts.length;
    service.call(request, reply);
    if (app.attempts.length > before) app.last.respond(200);
    return reply.outcome;
  };
  const use = (...list: InboundRule[]): void => rules.use(prepareRules(list));
  const counted = (): string[] =>
    metrics.rateLimitRequests
      .samples()
      .map(({ sharedLabels, value }) => `${sharedLabels["limit"]} ${sharedLabels["result"]} ${value}`);
  return { send, use, counted };
}

t.test("the first rule that matches counts; what none matches passes", async (t) => {
  const { send, use } = start();
  t.equal(send("/a"), "200", "before any rule");
  use(ruleAt("/a/b", "ab", 2), { ...ruleAt("/free", "x", 1), rateLimits: [] }, ruleAt("/a", "a", 1));
  t.same([send("/a"), send("/a/x?y")], ["200", "rate_limited"]);
  t.same([send("/a/b"), send("/a/b/c"), send("/a/b")], ["200", "200", "rate_limited"]);
  for (let i = 0; i < 5; i++) t.same([send("/free"), send("/other")], ["200", "200"]);
});

t.test(
  "rules change between two requests, and buckets outlive changes that leave them their name",
  async (t) => {
    const { send, use, counted } = start();
    use(ruleAt("/a", "a", 1), ruleAt("/b", "b", 1));
    t.same([send("/a"), send("/b")], ["200", "200"]);
    use(ruleAt("/a", "a", 1), ruleAt("/b", "c", 1));
    t.same([send("/a"), send("/b")], ["rate_limited", "200"], "another limit, another bucket");
    use(ruleAt("/c", "a", 5), ruleAt("/a/deep", "a", 5));
    t.same(
      [send("/a"), send("/c"), send("/a/deep")],
      ["200", "rate_limited", "rate_limited"],
      "one limit, two rules",
    );
    t.same(counted(), ["a admitted 1", "a limited 3"], "series of limits that are gone are gone");
    use();
    t.same([send("/a"), send("/c")], ["200", "200"]);
    use(ruleAt("/a", "a", 1));
    t.equal(send("/a"), "200", "a limit that was taken away begins anew");
  },
);

t.test("a rule whose match cannot be compiled is refused", async (t) => {
  const rule = ruleAt("/a", "a", 1);
  const bad = { ...rule, match: { ...rule.match, path: { type: "regex" as const, value: "(?=a)" } } };
  t.throws(() => prepareRules([bad]), ConfigError);
});
