import fc from "fast-check";
import t from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { concurrencyLimit } from "../../src/policy/concurrency-limit.js";
import { parseRetryAfterMs } from "../../src/policy/retry-after.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { attemptTimeout, routeTimeout } from "../../src/policy/timeouts.js";
import { Counter, Gauge } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

t.test("concurrency limit: refuses above the limit, counts down in every path", async (t) => {
  const upstream = new ScriptedService();
  const active = new Gauge();
  const rejected = new Counter();
  const options = { scope: "cluster api.default", source: "TrafficPolicy/default/api", active, rejected };
  const service = concurrencyLimit({ ...options, maxRequests: 2 })(upstream);
  const replies = Array.from({ length: 3 }, () => new RecordedReply());
  const calls = replies.map((reply) => service.call(scriptedRequest(), reply));
  t.equal(upstream.attempts.length, 2);
  t.match(
    replies[2]?.error?.message,
    /^concurrency limit reached: cluster api\.default: 2 of 2 .*source=TrafficPolicy\/default\/api$/,
  );
  t.equal(rejected.value, 1);
  calls[2]?.cancel(new ProxyError("client_gone", "test"));
  calls[0]?.cancel(new ProxyError("client_gone", "test"));
  t.equal(active.value, 1, "after a cancel");
  upstream.last.respond(200);
  t.equal(active.value, 0, "after a response");
  concurrencyLimit({ ...options, maxRequests: 1 })(
    new ScriptedService((attempt) => attempt.fail("connect_failed")),
  ).call(scriptedRequest(), new RecordedReply());
  t.equal(active.value, 0, "after an error within the call");
});

t.test("timeouts: name timer, value and source; end through the inner call", async (t) => {
  const cases = [
    {
      layer: routeTimeout,
      detail: "timer=route, value=1500ms, source=HTTPRoute/default/api",
      code: "route_timeout",
    },
    {
      layer: attemptTimeout,
      detail: "timer=attempt, value=1500ms, source=HTTPRoute/default/api",
      code: "attempt_timeout",
    },
  ];
  for (const { layer, detail, code } of cases) {
    const clock = new FakeClock();
    const upstream = new ScriptedService();
    const options = { timeoutMs: 1500, source: "HTTPRoute/default/api", wheel: new TimerWheel(clock) };
    const service = layer(options)(upstream);
    const reply = new RecordedReply();
    service.call(scriptedRequest(), reply);
    clock.advance(1499);
    t.equal(reply.outcome, "pending", "never early");
    clock.advance(12);
    t.equal(reply.outcome, code);
    t.equal(reply.error?.detail, detail);
    t.equal(upstream.last.cancelledWith, reply.error, "the upstream was let go");
  }
});

t.test("timeouts: run until the response is complete, and stop for tunnels and ended calls", async (t) => {
  const clock = new FakeClock();
  const upstream = new ScriptedService();
  const service = routeTimeout({ timeoutMs: 100, source: "default", wheel: new TimerWheel(clock) })(upstream);
  const start = (): RecordedReply => {
    const reply = new RecordedReply();
    service.call(scriptedRequest(), reply);
    return reply;
  };
  const slowBody = start();
  upstream.last.head(200);
  const tunnel = start();
  upstream.last.head(101);
  const done = start();
  upstream.last.respond(204);
  const gone = new ProxyError("client_gone", "test");
  const left = new RecordedReply();
  service.call(scriptedRequest(), left).cancel(gone);
  clock.advance(1000);
  t.equal(slowBody.outcome, "200 route_timeout");
  t.equal(tunnel.outcome, "pending");
  t.equal(done.outcome, "204");
  t.equal(left.error, gone);
  t.equal(clock.pendingTimers, 0);
});

t.test("retry budget: table", async (t) => {
  const config = { percent: 20, minRetriesPerSecond: 10, windowMs: 10_000 };
  const granted = (budget: RetryBudget, nowMs: number): number => {
    let count = 0;
    while (budget.tryRetry(nowMs)) count++;
    return count;
  };
  const idle = new RetryBudget(config);
  t.equal(granted(idle, 0), 100, "10/s over 10 s without any request");
  t.equal(granted(idle, 9000), 0, "they stay spent for the window");
  t.equal(granted(idle, 11_000), 100, "and come back after it");

  const loaded = new RetryBudget({ ...config, minRetriesPerSecond: 0 });
  t.equal(granted(loaded, 0), 0);
  for (let i = 0; i < 100; i++) loaded.addRequest(i);
  t.equal(granted(loaded, 100), 20);
  t.equal(granted(loaded, 20_000), 0, "old requests earn nothing");
  t.equal(granted(new RetryBudget({ ...config, percent: 0, minRetriesPerSecond: 0 }), 0), 0, "off");
});

t.test("retry budget: never more than allowed, in any window", async (t) => {
  const event = fc.record({
    waitMs: fc.integer({ min: 0, max: 700 }),
    isRetry: fc.boolean(),
    count: fc.nat(8),
  });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 80 }),
      fc.integer({ min: 0, max: 100 }),
      fc.double({ min: 0, max: 2, noNaN: true }),
      (events, percent, minRetriesPerSecond) => {
        const windowMs = 2000;
        const budget = new RetryBudget({ percent, minRetriesPerSecond, windowMs });
        const requests: number[] = [];
        const retries: number[] = [];
        let nowMs = 0;
        for (const { waitMs, isRetry, count } of events) {
          nowMs += waitMs;
          for (let i = 0; i < count; i++) {
            if (!isRetry) {
              budget.addRequest(nowMs);
              requests.push(nowMs);
            } else if (budget.tryRetry(nowMs)) {
              retries.push(nowMs);
            }
          }
          const recent = (times: number[]): number => times.filter((ms) => ms > nowMs - windowMs).length;
          const allowed = (recent(requests) * percent) / 100 + (minRetriesPerSecond * windowMs) / 1000;
          // Retries granted earlier may outlive the requests that earned them; a new one must not add to that.
          if (isRetry && retries.at(-1) === nowMs && recent(retries) > allowed + 1e-9) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  t.pass("property held");
});

t.test("Retry-After: seconds, dates, and what is neither", async (t) => {
  const wallMs = Date.UTC(2026, 0, 1);
  const cases: [string | undefined, number | undefined][] = [
    [undefined, undefined],
    ["0", 0],
    [" 120 ", 120_000],
    ["Thu, 01 Jan 2026 00:00:05 GMT", 5000],
    ["Wed, 31 Dec 2025 23:59:00 GMT", 0],
    ["-1", undefined],
    ["1.5", undefined],
    ["99999999999999", undefined],
    ["soon", undefined],
    ["2026-01-01", undefined],
    ["Thu, 99 Foo 2026 00:00:05 GMT", undefined],
    ["", undefined],
  ];
  for (const [value, expected] of cases) t.equal(parseRetryAfterMs(value, wallMs), expected, String(value));
});
