import fc from "fast-check";
import t from "tap";
import type { RateLimitConfig } from "../../src/config/rate-limit-config.js";
import { Limiter } from "../../src/policy/limiter.js";
import { keyOf } from "../../src/policy/rate-limit-key.js";
import { rateLimit } from "../../src/policy/rate-limit.js";
import { TokenBuckets } from "../../src/policy/token-buckets.js";
import { errorReply } from "../../src/proxy/local-reply.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { Counter } from "../../src/telemetry/cells.js";
import { getHeader } from "../../src/traffic/headers.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const limitConfig = (changes: Partial<RateLimitConfig> = {}): RateLimitConfig => ({
  name: "service api.default",
  source: "TrafficPolicy/default/api",
  requests: 10,
  perMs: 1000,
  burst: 5,
  keys: [],
  scope: "local",
  onUnavailable: "local",
  status: 429,
  retryAfter: true,
  ...changes,
});
const limiterOf = (changes: Partial<RateLimitConfig> = {}): Limiter =>
  new Limiter(limitConfig(changes), {
    admitted: new Counter(),
    limited: new Counter(),
    unavailable: new Counter(),
  });

/** Takes a token if there is one. */
function isTaken(buckets: TokenBuckets, key: string, nowMs: number): boolean {
  const bucket = buckets.at(key, nowMs);
  if (buckets.waitMs(bucket) > 0) return false;
  buckets.take(bucket);
  return true;
}

t.test("a bucket begins full, refills at its rate and no further than its burst", async (t) => {
  const buckets = new TokenBuckets({ requests: 10, perMs: 1000, burst: 3 }, 10);
  const steps: readonly (readonly [atMs: number, isAdmitted: boolean, waitMs: number])[] = [
    [0, true, 0],
    [0, true, 0],
    [0, true, 0],
    [0, false, 100],
    [60, false, 40],
    [100, true, 0],
    [100, false, 100],
    [90, false, 100], // a clock that goes back
    [250, true, 0],
    [250, false, 50],
    [10_000, true, 0],
    [10_000, true, 0],
    [10_000, true, 0],
    [10_000, false, 100],
  ];
  for (const [atMs, isAdmitted, waitMs] of steps) {
    const wait = buckets.waitMs(buckets.at("", atMs));
    t.equal(Math.round(wait), isAdmitted ? 0 : waitMs, `wait at ${atMs}`);
    t.equal(isTaken(buckets, "", atMs), isAdmitted, `at ${atMs}`);
  }
});

t.test(
  "property: never more than burst + rate * t, and after the wait that was told there is a token",
  async () => {
    const size = fc.record({
      requests: fc.integer({ min: 1, max: 1000 }),
      perMs: fc.integer({ min: 1, max: 100_000 }),
      burst: fc.integer({ min: 1, max: 50 }),
    });
    const gaps = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 500 })), { maxLength: 300 });
    fc.assert(
      fc.property(size, gaps, ({ requests, perMs, burst }, steps) => {
        const buckets = new TokenBuckets({ requests, perMs, burst }, 10);
        const taken: number[] = [];
        let nowMs = 0;
        for (const gap of steps) {
          nowMs += gap;
          const waitMs = buckets.waitMs(buckets.at("k", nowMs));
          if (isTaken(buckets, "k", nowMs)) taken.push(nowMs);
          else if (!(waitMs > 0 && waitMs <= perMs / requests + 1e-6)) return false;
          else if (gap % 7 === 0) {
            nowMs += waitMs;
            if (!isTaken(buckets, "k", nowMs)) return false;
            taken.push(nowMs);
          }
        }
        for (let from = 0; from < taken.length; from++) {
          for (let to = from; to < taken.length; to++) {
            const spanMs = (taken[to] as number) - (taken[from] as number);
            if (to - from + 1 > burst + (spanMs * requests) / perMs + 1e-6) return false;
          }
        }
        return true;
      }),
      { numRuns: 300 },
    );
  },
);

t.test("a greedy caller has its own bucket, and a flood of keys does not grow memory", async (t) => {
  const buckets = new TokenBuckets({ requests: 1, perMs: 1000, burst: 2 }, 100);
  let greedy = 0;
  let modest = 0;
  for (let ms = 0; ms < 10_000; ms += 10) {
    if (isTaken(buckets, "greedy", ms)) greedy++;
    if (ms % 1000 === 0 && isTaken(buckets, "modest", ms)) modest++;
  }
  t.equal(modest, 10, "one a second is what it may");
  t.equal(greedy, 11);
  t.ok(isTaken(buckets, "greedy", 10_000));
  for (let i = 0; i < 5000; i++) {
    buckets.at(`flood ${i}`, 10_000);
    if (i % 50 === 0) buckets.at("greedy", 10_000);
  }
  t.equal(buckets.count, 100);
  t.notOk(isTaken(buckets, "greedy", 10_000), "what is in use is not forgotten");
  t.ok(isTaken(buckets, "modest", 10_000), "what was not used for long begins anew");
});

t.test("other numbers keep what was taken", async (t) => {
  const limiter = limiterOf({ burst: 2 });
  const { buckets } = limiter;
  t.ok(isTaken(buckets, "", 0) && isTaken(buckets, "", 0));
  limiter.configure(limitConfig({ requests: 1000, burst: 50 }));
  t.notOk(isTaken(buckets, "", 0));
  t.ok(isTaken(buckets, "", 1), "a raised limit helps at once");
  limiter.configure(limitConfig({ processes: 4, burst: 2 }));
  t.equal(Math.round(buckets.waitMs(buckets.at("", 1))), 400, "one of four processes has a quarter");
});

const from = (headers: readonly string[], peerId?: string): RequestContext =>
  new RequestContext(
    { method: "GET", target: "/", authority: "a", version: "1.1", headers: [...headers], upgrade: "" },
    null,
    0,
    "127.0.0.1:1",
    peerId,
  );

t.test("keys", async (t) => {
  const header = { type: "header", name: "x-key" } as const;
  const identity = { type: "sourceIdentity" } as const;
  t.equal(keyOf([])(from(["x-key", "a"], "spiffe://m/a")), "");
  t.equal(keyOf([header])(from(["X-Key", "a"])), "a");
  t.equal(keyOf([header])(from(["x-key", "a", "X-KEY", "b"])), "a,b", "a second line is no way out");
  t.equal(keyOf([header])(from([])), "");
  t.equal(keyOf([identity])(from([], "spiffe://m/a")), "spiffe://m/a");
  t.equal(keyOf([identity])(from([])), "");
  t.not(
    keyOf([header, identity])(from(["x-key", "a"], "b")),
    keyOf([header, identity])(from(["x-key", "ab"])),
  );
  const long = keyOf([header])(from(["x-key", "x".repeat(60_000)]));
  t.ok(long.length < 50, "bounded memory per key");
  t.not(long, keyOf([header])(from(["x-key", "x".repeat(60_001)])));
});

t.test("several limits: all must admit, and only then tokens are taken", async (t) => {
  const clock = new FakeClock();
  const each = limiterOf({ name: "each", burst: 1, keys: [{ type: "header", name: "x-key" }] });
  const all = limiterOf({ name: "all", burst: 2, requests: 1, perMs: 2000 });
  const upstream = new ScriptedService();
  const service = rateLimit([each, all], clock)(upstream);
  const send = (key: string): RecordedReply => {
    const reply = new RecordedReply();
    service.call(scriptedRequest({ headers: ["x-key", key] }), reply);
    if (reply.ends === 0) upstream.last.respond(200);
    return reply;
  };
  const first = send("a");
  t.equal(first.outcome, "200");
  t.equal(getHeader(first.headers, "ratelimit-policy"), '"each";q=10;w=1, "all";q=1;w=2');
  t.equal(getHeader(first.headers, "ratelimit"), '"each";r=0;t=1, "all";r=1');
  for (let i = 0; i < 5; i++)
    t.equal(send("a").outcome, "rate_limited", "each says no, and all loses nothing");
  t.equal(send("b").outcome, "200");
  const refused = send("c");
  t.equal(refused.error?.detail, "limit all: 1 requests per 2s, burst=2, source=TrafficPolicy/default/api");
  t.match(send("a").error?.detail, /^limit all/, "of two that say no, the one that says it longer");
  t.same([each.meters.admitted.value, each.meters.limited.value], [2, 6]);
  t.same([all.meters.admitted.value, all.meters.limited.value], [2, 2]);
  clock.advance(2000);
  t.equal(send("c").outcome, "200", "c's own token was not taken when all refused");
  t.equal(upstream.attempts.length, 3);
});

t.test("what a refused caller is told", async (t) => {
  const clock = new FakeClock();
  const refusal = (changes: Partial<RateLimitConfig>, headers: readonly string[] = []) => {
    const service = rateLimit([limiterOf({ burst: 1, ...changes })], clock)(new ScriptedService());
    service.call(scriptedRequest({ headers }), new RecordedReply());
    const reply = new RecordedReply();
    const request = scriptedRequest({ headers });
    service.call(request, reply);
    const local = reply.error === null ? null : errorReply(reply.error, request.head);
    const of = (name: string): string | undefined => getHeader(local?.head.headers ?? [], name);
    return { status: local?.head.status, body: local?.body.toString(), of };
  };
  const http = refusal({ requests: 1, perMs: 1500, keys: [{ type: "sourceIdentity" }] });
  t.equal(http.status, 429);
  t.equal(
    http.body,
    "rate limit exceeded: limit service api.default: 1 requests per 1500ms for each caller, burst=1, source=TrafficPolicy/default/api\n",
  );
  t.equal(http.of("retry-after"), "2", "rounded up");
  t.equal(http.of("x-remora-error"), "rate_limited");
  t.equal(http.of("ratelimit-policy"), '"service api.default";q=1', "no window in whole seconds");
  t.equal(http.of("ratelimit"), '"service api.default";r=0;t=2');
  const other = refusal({ status: 420, retryAfter: false });
  t.equal(other.status, 420);
  t.equal(other.of("retry-after"), undefined);
  const grpc = refusal({ requests: 3, perMs: 1000 }, ["content-type", "application/grpc"]);
  t.equal(grpc.status, 200);
  t.equal(grpc.body, "");
  t.equal(grpc.of("grpc-status"), "8");
  t.match(grpc.of("grpc-message"), /^rate limit exceeded: limit service api.default/);
  t.equal(grpc.of("grpc-retry-pushback-ms"), "340");
  t.equal(grpc.of("retry-after"), undefined);
});
