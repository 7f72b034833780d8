/** A second attempt elsewhere while the first is without an answer: when, how many, and which answer counts. */
import fc from "fast-check";
import t from "tap";
import type { HedgeConfig } from "../../src/config/hedge-config.js";
import { hedge } from "../../src/policy/hedge.js";
import { HedgeState } from "../../src/policy/hedge-state.js";
import { RecentLatency } from "../../src/policy/recent-latency.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSource, scriptedError } from "../support/scripted-body.js";
import { endpointConfig } from "../support/scripted-endpoint.js";
import { RecordedReply, ScriptedService, scriptedRequest, type Step } from "../support/scripted-service.js";

const after50: HedgeConfig = {
  after: { type: "delay", delayMs: 50 },
  maxAttempts: 1,
  budgetPercent: 100,
};

function setup(config: HedgeConfig = after50, ...steps: Step[]) {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const meters = new PolicyMetrics(new Metrics()).hedge("api.default");
  const state = new HedgeState(config);
  let endpoints = 3;
  let picked = 0;
  const upstream = new ScriptedService(...steps);
  const service = hedge({
    ...{ config, clock, wheel, meters },
    budget: state.budget,
    latency: state.latency,
    endpoints: () => endpoints,
  })({
    call(request, reply) {
      request.attemptAt({ key: `endpoint ${picked++}`, config: endpointConfig(0) });
      return upstream.call(request, reply);
    },
  });
  const send = (options: Parameters<typeof scriptedRequest>[0] = {}) => {
    const request = scriptedRequest({ ...options, startMs: clock.monotonicMs() });
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  const setEndpoints = (count: number): void => void (endpoints = count);
  return { clock, upstream, send, meters, state, setEndpoints };
}

t.test("the faster of two answers wins, the other attempt is cancelled", async (t) => {
  const { clock, upstream, send, meters } = setup();
  const { request, reply } = send();
  clock.advance(40);
  t.equal(upstream.attempts.length, 1);
  clock.advance(30);
  t.equal(upstream.attempts.length, 2);
  const [first, second] = upstream.attempts;
  t.same(
    second?.request.tried.map(({ key }) => key),
    ["endpoint 0", "endpoint 1"],
    "the second knows where the first is",
  );
  second?.respond(200);
  t.equal(reply.outcome, "200");
  t.equal(first?.cancelledWith?.code, "client_gone");
  t.equal(request.upstream?.key, "endpoint 1", "who answered is who is logged");
  t.same([meters.attempts.value, meters.wins.value], [1, 1]);
  clock.advance(1000);
  t.equal(upstream.attempts.length, 2);

  const other = send();
  clock.advance(70);
  const [, , third, fourth] = upstream.attempts;
  third?.respond(200);
  t.equal(other.reply.outcome, "200");
  t.equal(fourth?.cancelledWith?.code, "client_gone");
  t.equal(meters.wins.value, 1);
  t.equal(clock.pendingTimers, 0);
});

t.test("an answer before the delay is the only one; a failure is the request's", async (t) => {
  const { clock, upstream, send } = setup();
  const quick = send();
  upstream.last.respond(200);
  const failed = send();
  upstream.last.fail("connect_failed");
  clock.advance(1000);
  t.same([quick.reply.outcome, failed.reply.outcome, upstream.attempts.length], ["200", "connect_failed", 2]);
  t.equal(clock.pendingTimers, 0);
});

t.test("a failure while another attempt is under way is not the last word", async (t) => {
  const { clock, upstream, send } = setup();
  const { reply } = send();
  clock.advance(60);
  const [first, second] = upstream.attempts;
  first?.fail("upstream_reset");
  t.equal(reply.outcome, "pending");
  second?.respond(200);
  t.equal(reply.outcome, "200");
  const broken = send();
  clock.advance(60);
  const [, , third, fourth] = upstream.attempts;
  third?.head(503);
  t.equal(broken.reply.outcome, "pending", "503 is no answer while there is hope");
  t.ok(third?.cancelledWith);
  fourth?.respond(500);
  t.equal(broken.reply.outcome, "500", "the last one's failure is");
});

t.test("only safe requests without a body, and only where there is another endpoint", async (t) => {
  const { clock, upstream, send, setEndpoints } = setup();
  for (const options of [
    { method: "POST" },
    { method: "PUT" },
    { method: "DELETE" },
    { method: "GET", body: new ScriptedSource() },
    { method: "GET", headers: ["content-type", "application/grpc"] },
  ])
    send(options);
  clock.advance(1000);
  t.equal(upstream.attempts.length, 5);
  send({ method: "HEAD" });
  send({ method: "OPTIONS" });
  clock.advance(1000);
  t.equal(upstream.attempts.length, 9);
  setEndpoints(1);
  send();
  clock.advance(1000);
  t.equal(upstream.attempts.length, 10);
});

t.test("as many further attempts as are asked for, within the budget", async (t) => {
  const three = setup({ ...after50, maxAttempts: 3 });
  three.send();
  three.clock.advance(1000);
  t.equal(three.upstream.attempts.length, 4);
  t.equal(new Set(three.upstream.last.request.tried.map(({ key }) => key)).size, 4);

  const { clock, upstream, send, meters } = setup({ ...after50, budgetPercent: 10 });
  for (let i = 0; i < 1000; i++) {
    const before = upstream.attempts.length;
    send();
    clock.advance(60);
    for (const attempt of upstream.attempts.slice(before)) if (!attempt.isEnded) attempt.respond(200);
  }
  // 60 s: each window of 10 s has 166 requests, of which 16 and ten more may be sent again.
  t.ok(meters.attempts.value <= 6 * 27 + 27, `${meters.attempts.value} further attempts`);
  t.ok(meters.attempts.value >= 100, `${meters.attempts.value} further attempts`);
  t.equal(meters.attempts.value + meters.denied.value, 1000);
});

t.test("by percentile: nothing while too little is known, then the time of the slowest few", async (t) => {
  const config: HedgeConfig = {
    ...after50,
    after: { type: "percentile", percentile: 95, minDelayMs: 20 },
  };
  const { clock, upstream, send } = setup(config);
  for (let i = 0; i < 100; i++) {
    send();
    clock.advance(i % 10 === 0 ? 200 : 30);
    t.equal(upstream.attempts.length, i < 50 ? i + 1 : upstream.attempts.length, "no further attempt so far");
    for (const attempt of upstream.attempts) if (!attempt.isEnded) attempt.respond(200);
  }
  clock.advance(300);
  const before = upstream.attempts.length;
  send();
  clock.advance(190);
  t.equal(upstream.attempts.length, before + 1);
  clock.advance(50);
  t.equal(upstream.attempts.length, before + 2, "after 200 to 218 ms");

  const window = new RecentLatency();
  for (let i = 1; i <= 1000; i++) window.add(i, 5);
  for (const percentile of [50, 90, 99]) {
    const value = window.percentile(percentile, 10) ?? 0;
    t.ok(value >= percentile * 10 && value <= percentile * 11, `${percentile} %: ${value}`);
  }
  t.equal(window.percentile(95, 40_000), undefined, "what is old is forgotten");
});

t.test("another budget begins anew, the latencies stay", async (t) => {
  const state = new HedgeState(after50);
  const { latency, budget } = state;
  state.configure({ ...after50, maxAttempts: 3 });
  t.equal(state.budget, budget);
  state.configure({ ...after50, budgetPercent: 1 });
  t.not(state.budget, budget);
  t.equal(state.latency, latency);
});

t.test("whatever comes in whatever order: one head, one end, everything else is cancelled", async (t) => {
  const event = fc.record({
    what: fc.constantFrom("informational", "head 200", "head 503", "end", "fail", "time", "cancel"),
    which: fc.nat({ max: 3 }),
  });
  const property = fc.property(
    fc.array(event, { maxLength: 30 }),
    fc.array(fc.constantFrom("wait", "fail", "200", "503"), { maxLength: 4 }),
    fc.boolean(),
    (events, atOnce, endsLate) => {
      const steps = atOnce.map((what): Step => (attempt) => {
        if (what === "fail") attempt.fail("connect_failed");
        if (what === "200" || what === "503") attempt.respond(Number(what));
      });
      const { clock, upstream, send } = setup({ ...after50, maxAttempts: 3 }, ...steps);
      const { reply, call } = send();
      const heads = new Set<unknown>();
      for (const { what, which } of events) {
        if (what === "time") clock.advance(60);
        if (what === "cancel") call.cancel(scriptedError);
        const attempt = upstream.attempts[which];
        if (attempt === undefined || attempt.isEnded) continue;
        attempt.endsOnCancel = !endsLate;
        if (what === "informational" && !heads.has(attempt)) attempt.informational(103);
        if (what.startsWith("head") && !heads.has(attempt)) {
          heads.add(attempt);
          attempt.head(Number(what.slice(5)));
        }
        if (attempt.isEnded) continue;
        if (what === "end" && heads.has(attempt)) attempt.end();
        if (what === "fail") attempt.fail("upstream_reset");
      }
      call.cancel(scriptedError);
      const wasOver = reply.ends === 1;
      for (const attempt of upstream.attempts) if (!attempt.isEnded) attempt.end(scriptedError);
      clock.advance(1000);
      const isSilent = upstream.attempts.every(({ isEnded }) => isEnded) && clock.pendingTimers === 0;
      return reply.ends === 1 && isSilent && (endsLate || wasOver);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }));
});
