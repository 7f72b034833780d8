/** Failures on purpose: which requests, for how long, and what the caller gets. */
import t from "tap";
import type { FaultConfig } from "../../src/config/fault-config.js";
import { fault, maxHeldRequests } from "../../src/policy/fault.js";
import { routeTimeout } from "../../src/policy/timeouts.js";
import { Gauge } from "../../src/telemetry/cells.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { getHeader } from "../../src/traffic/headers.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, scriptedError } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const grpc = ["content-type", "application/grpc"];

function setup(config: Partial<FaultConfig>) {
  const clock = new FakeClock();
  const held = new Gauge();
  const meters = new PolicyMetrics(new Metrics()).fault("TrafficPolicy/default/api");
  const upstream = new ScriptedService();
  let expired = 0;
  const service = fault({
    config: {
      headers: [],
      expiresMs: clock.wallMs() + 60_000,
      source: "TrafficPolicy/default/api",
      ...config,
    },
    matches: (head) => getHeader(head.headers, "x-user") !== "real",
    ...{ clock, held, meters },
    wheel: new TimerWheel(clock),
    onExpired: () => expired++,
  })(upstream);
  const send = (headers: readonly string[] = []) => {
    const request = scriptedRequest({ headers, startMs: clock.monotonicMs() });
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  return { clock, held, meters, upstream, send, expired: () => expired };
}

t.test("an abort answers with the status of its kind, marked, and is counted as an error", async (t) => {
  const both = setup({ abort: { status: 418, grpcStatus: 10, percent: 100 } });
  const { request, reply } = both.send();
  t.equal(reply.outcome, "418");
  t.equal(getHeader(reply.headers, "x-remora-fault"), "abort");
  t.equal(getHeader(reply.headers, "x-remora-error"), "fault_injected");
  const sink = new ScriptedSink();
  reply.body?.attach(sink);
  t.match(
    sink.bytes.toString(),
    /^fault injected: abort, until=2026-01-01T00:01:00.000Z, source=TrafficPolicy\/default\/api\n$/,
  );
  t.same([request.error?.code, request.error?.row.flag], ["fault_injected", "FI"]);
  const call = both.send(grpc);
  t.same([call.reply.outcome, getHeader(call.reply.headers, "grpc-status")], ["200", "10"]);
  t.equal(both.send(["x-user", "real"]).reply.outcome, "pending", "does not match");
  t.equal(both.meters.aborts.value, 2);

  const statusOnly = setup({ abort: { status: 503, percent: 100 } });
  t.equal(getHeader(statusOnly.send(grpc).reply.headers, "grpc-status"), "14", "as clients read a 503");
  const grpcOnly = setup({ abort: { grpcStatus: 8, percent: 100 } });
  t.equal(grpcOnly.send().reply.outcome, "pending", "HTTP has no word for it");
  t.equal(getHeader(grpcOnly.send(grpc).reply.headers, "grpc-status"), "8");
});

t.test("shares are drawn for each request, delay and abort apart", async (t) => {
  const { clock, meters, send, upstream } = setup({
    abort: { status: 500, percent: 10 },
    delay: { fixedMs: 100, percent: 50 },
  });
  // Drawn in the order abort, delay.
  clock.randoms = [0.099, 0.5, 0.1, 0.49, 0.05, 0.1, 0.9];
  const outcomes = [send(), send(), send()].map(({ reply }) => reply.outcome);
  t.same(outcomes, ["500", "pending", "pending"]);
  t.equal(upstream.attempts.length, 0);
  clock.advance(120);
  t.equal(upstream.attempts.length, 1, "one was only held back");
  t.same([meters.aborts.value, meters.delays.value], [2, 2]);
  send();
  t.equal(upstream.attempts.length, 2, "neither");
});

t.test("a request that is held back can be cancelled, and is sent after its time", async (t) => {
  const { clock, held, upstream, send } = setup({ delay: { fixedMs: 200, percent: 100 } });
  const first = send();
  const second = send();
  t.equal(held.value, 2);
  clock.advance(100);
  first.call.cancel(scriptedError);
  t.same([first.reply.outcome, held.value], [scriptedError.code, 1]);
  clock.advance(120);
  t.same([upstream.attempts.length, held.value, second.request.flag], [1, 0, "DI"]);
  second.call.cancel(scriptedError);
  t.equal(upstream.last.cancelledWith, scriptedError);
  t.equal(second.reply.outcome, scriptedError.code);
  first.call.cancel(scriptedError);
  t.equal(first.reply.ends, 1);
  t.equal(clock.pendingTimers, 0);
});

t.test("the time that a request is held back is not the route's", async (t) => {
  const { clock, send, upstream } = setup({ delay: { fixedMs: 500, percent: 100 } });
  const { request } = send();
  clock.advance(520);
  t.equal(upstream.attempts.length, 1);
  const wheel = new TimerWheel(clock);
  const inner = new ScriptedService();
  routeTimeout({ timeoutMs: 100, source: "s", wheel })(inner).call(request, new RecordedReply());
  t.equal(request.deadlineMs, 600);
});

t.test("no more than so many are held back at once", async (t) => {
  const { clock, held, meters, upstream, send } = setup({ delay: { fixedMs: 200, percent: 100 } });
  for (let i = 0; i < maxHeldRequests + 5; i++) send();
  t.same([held.value, meters.crowded.value, upstream.attempts.length], [maxHeldRequests, 5, 5]);
  clock.advance(300);
  t.same([held.value, upstream.attempts.length], [0, maxHeldRequests + 5]);
});

t.test("it ends by itself", async (t) => {
  const { clock, upstream, send, expired } = setup({
    abort: { status: 500, percent: 100 },
    delay: { fixedMs: 1, percent: 100 },
  });
  clock.advance(59_999);
  send();
  t.equal(upstream.attempts.length, 0);
  clock.advance(1);
  t.equal(send().reply.outcome, "pending");
  t.same([upstream.attempts.length, expired()], [1, 1]);
});
