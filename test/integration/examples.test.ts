/** Each folder of examples/ must show what it says; the demo has a test of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { skipWithout } from "../support/brokers.js";
import { skipWithoutConsul } from "../support/consul-agent.js";

const sources = path.resolve(import.meta.dirname, "../../../examples");
const compiled = path.resolve(import.meta.dirname, "../../examples");
interface Example {
  /** Why it cannot run here, or false. */
  readonly skip: string | boolean;
  readonly shows: readonly (string | RegExp)[];
}

const examples = new Map<string, Example>([
  ["grpc", { skip: false, shows: ["beta tester: { 'greeter-next-1': 10 }", "Hello, Ada · Hello, Grace"] }],
  [
    "fallback",
    {
      skip: false,
      shows: [
        "POST payment/: 202 reply no_healthy_endpoint, Payment is delayed, try again later",
        "GET recommendations/: 200 service no_healthy_endpoint, bestsellers-1 /",
        "GET prices/tea: 200 stale -, prices-1 /tea",
        "GET prices/coffee: 503 - -, prices-1 is broken",
      ],
    },
  ],
  [
    "http2",
    {
      skip: false,
      shows: [
        "HTTP/1.1 12 pieces, asked over HTTP/2.0, sum-12",
        "HTTP/2 12 pieces, asked over HTTP/2.0, sum-12",
      ],
    },
  ],
  [
    "workers",
    {
      skip: false,
      shows: [
        /connections of web's clients: \[ [1-9]\d*, [1-9]\d* \]/,
        "a worker of api was killed; what web's clients saw: [ 200 ]",
        "workers replaced: 1",
      ],
    },
  ],
  ["isolation", { skip: false, shows: ["critical requests did not suffer, batch went first"] }],
  [
    "breakers",
    {
      skip: false,
      shows: [
        "one instance is broken: Set(1) { 200 }",
        // The first opening lasts a second, which the command may take to start.
        / (?:open +consecutive-failures|half-open +-) /,
        /both are broken: 503 circuit open: service payment.default: \d+ of \d+ requests failed/,
        "both are mended: payments again",
        "held open by an operator for another",
        "payment-2 is isolated: Set(1) { 'payment-1 /' }",
        "reset: payment-2 is back",
      ],
    },
  ],
  [
    "failover",
    {
      skip: false,
      shows: [
        "all is well: api-north answers",
        "the own zone is broken: api-south answers",
        "all of api is broken: backup answers",
        "mended: api-north answers again",
      ],
    },
  ],
  [
    "health-checks",
    {
      skip: false,
      shows: [
        "well: ledger healthy",
        "broken: prices /failed_active_hc (status 503)",
        "broken: greeter /failed_active_hc (NOT_SERVING)",
        "broken: ledger /failed_active_hc",
        "mended: ledger healthy",
      ],
    },
  ],
  [
    "timeouts",
    {
      skip: false,
      shows: [
        "slow: 504 upstream request timeout (route): timer=route, value=600ms, source=TrafficPolicy/default/reports",
        "summary: 504 upstream request timeout (route): timer=route, value=200ms, source=HTTPRoute/default/reports",
        "twice: 504 upstream request timeout (attempt): timer=attempt, value=100ms, source=HTTPRoute/default/reports",
        "own deadline: 504 upstream request timeout (route): timer=deadline, value=150ms, source=caller",
        "two hops: 504",
        "the archive was let go when the time was over",
      ],
    },
  ],
  [
    "fault-injection",
    {
      skip: false,
      shows: [
        "refused: fault must end by itself",
        "payment customer: 200 - quick",
        "payment tester: 503 abort quick",
        "inventory customer: 200 - slow\npayment tester: 200 - quick\ninventory customer: 200 - quick",
      ],
    },
  ],
  [
    "mirroring",
    {
      skip: false,
      shows: [
        "GET: 200 prices-1 /tea",
        "POST: 200 prices-1 /orders",
        "the next version saw: GET /tea  mirrored, POST /orders two teas mirrored",
      ],
    },
  ],
  [
    "policy-rollout",
    {
      skip: false,
      shows: [
        "orders.default  backup.default  GET     /export  allowed -> denied  implicit-deny",
        "exit code 1",
        'paths: [ "/orders/{*}" ]',
        "stranger: GET /orders/17: 200",
        "stranger: GET /orders/17: 403",
        "shop: GET /orders/19: 200, POST /orders: 200\nbackup: GET /export: 200",
      ],
    },
  ],
  ["hedging", { skip: false, shows: ["40 answers, the slowest in"] }],
  ["retries", { skip: false, shows: ["the chain held"] }],
  ["websocket", { skip: false, shows: ["ada heard ada: hello, closed 1000", "grace heard grace: hello"] }],
  [
    "load-balancing",
    {
      skip: false,
      shows: [
        "testers: { 'reviews-3': 20 }",
        "canary: about a tenth",
        "cluster reviews.default|v3: no endpoint in subset v3 (version=v3)",
        "without a cookie: 3 instances; cart-session=…; Max-Age=3600; Path=/; HttpOnly; with it: 1 instance",
      ],
    },
  ],
  [
    "authorization",
    {
      skip: false,
      shows: [
        "reviews GET /ratings/7: 200 GET /ratings/7 for spiffe://mesh.local/ns/default/svc/reviews",
        "reviews POST /ratings/7: 403 implicit-deny",
        "reviews GET /ratings/internal: 403 AuthorizationPolicy/default/ratings-internal/0",
        "reviews GET /ratings//intern%61l;v=1: 403 AuthorizationPolicy/default/ratings-internal/0",
        "details GET /ratings/7: 403 implicit-deny",
      ],
    },
  ],
  [
    "revocation",
    {
      skip: false,
      shows: [
        "before: 200 shop-1 /tea",
        "revoked SERIAL of spiffe://mesh.local/ns/default/svc/laptop",
        /after: 50[23], at once/,
        "with a new token: 200 shop-1 /tea",
        "the audit log knows who it was, and why",
      ],
    },
  ],
  [
    "ca-rotation",
    {
      skip: false,
      shows: [
        "distributed: both sidecars believe the next root",
        "renewed: both have certificates of it",
        "finished: the old root is gone",
        "not one call failed",
      ],
    },
  ],
  ["rate-limit", { skip: false, shows: ["greedy: held back, Retry-After: 1", "modest: 5 of 5 passed"] }],
  [
    "global-rate-limit",
    {
      skip: skipWithout("redis-server"),
      shows: [
        // One less for each answer of Redis that came too late.
        /^Redis counts for both instances: \d+ of 60 passed\n {2}asked by shop \d+, web \d+; answered by search-1 \d+, search-2 \d+$/m,
        "429 rate limit exceeded: limit service search.default: 20 requests per 1h",
        "Redis is away, onUnavailable: local: 40 of 60 passed",
        "answered by search-1 20, search-2 20",
        "Redis is away, onUnavailable: open: 60 of 60 passed",
        "Redis is away, onUnavailable: closed: 0 of 60 passed",
        "Redis cannot be asked, onUnavailable=closed",
        /^Redis is back, its counts begin anew: \d+ of 60 passed$/m,
      ],
    },
  ],
  ["idempotency", { skip: false, shows: ["(replayed)", "payments made: 1", "idempotency_key_missing"] }],
  [
    "workload-api",
    {
      skip: false,
      shows: [
        "I am spiffe://mesh.local/ns/default/svc/billing",
        "reports greets spiffe://mesh.local/ns/default/svc/billing",
        "the token proves spiffe://mesh.local/ns/default/svc/billing",
        "elsewhere: 3 INVALID_ARGUMENT: aud is missing or does not name the audience asked for",
      ],
    },
  ],
  [
    "consul-mesh",
    {
      skip: skipWithoutConsul(),
      shows: [
        "shop (Remora) calls stock (Consul's proxy): 200 stock /tea",
        "stock (Consul's proxy) calls shop (Remora): 200 shop /orders",
        "an intention denies it: 403",
        "it allows it again: 200",
        "a new CA: 50 of 50 answered",
      ],
    },
  ],
  [
    "failover-datacenter",
    {
      skip: skipWithoutConsul(),
      shows: [
        "dc2, current, api.default: 1 of 1 instances well",
        "all is well: api-dc1 answers",
        "all of api is broken in dc1: api-dc2 answers",
        "dc2, stale for ",
        "the Consul of dc2 is away as well: api-dc2 answers",
        "mended: api-dc1 answers again",
      ],
    },
  ],
  ["tcp-redis", { skip: skipWithout("redis-server", "redis-cli"), shows: ["GET greeting: hello!"] }],
]);

// Each takes seconds, and there are many. The comment tells the runner, which would end the file sooner.
const longestMs = 900_000;
t.setTimeout(longestMs);
t.comment(`timeout=${longestMs}`);

t.test("every example has a test", async (t) => {
  const folders = readdirSync(sources, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  t.same(folders.map(({ name }) => name).sort(), ["demo", ...examples.keys()].sort());
});

/** They show that something is quick, or comes in time: nothing runs beside them. */
const timed: ReadonlySet<string> = new Set([
  ...[
    "isolation",
    "breakers",
    "failover",
    "failover-datacenter",
    "timeouts",
    "fault-injection",
    "hedging",
    "retries",
  ],
  ...["rate-limit", "global-rate-limit", "revocation"],
]);
t.jobs = 2;
const timedFirst = [...examples].sort(([a], [b]) => Number(timed.has(b)) - Number(timed.has(a)));

for (const [name, { skip, shows }] of timedFirst)
  t.test(name, { skip, buffered: !timed.has(name) }, async (t) => {
    const child = spawn(process.execPath, [path.join(compiled, name, `${name}.js`)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
    const [code] = (await once(child, "close")) as [number | null];
    t.equal(code, 0, output);
    for (const line of shows) t.match(output, line);
  });
