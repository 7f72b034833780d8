import t from "tap";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { retry } from "../../src/policy/retry.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { tunnelIdle } from "../../src/policy/tunnel-idle.js";
import type { RequestContext } from "../../src/stack/request-context.js";
import type { BodySource } from "../../src/traffic/body.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { scriptedError, ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

function tunnelRequest(body: BodySource): RequestContext {
  const request = scriptedRequest({ body });
  request.head.upgrade = "websocket";
  return request;
}

const source = "TrafficPolicy/default/api";

/** A tunnel under the layer, opened: what its two ends hold. */
function openTunnel(clock: FakeClock, idleMs: number, wheel = new TimerWheel(clock)) {
  const service = new ScriptedService();
  const layer = tunnelIdle({ idleMs, source, wheel, clock })(service);
  const [up, down] = [new ScriptedSource(), new ScriptedSource()];
  const [upSink, downSink] = [new ScriptedSink(), new ScriptedSink()];
  const reply = new RecordedReply();
  const call = layer.call(tunnelRequest(up), reply);
  const attempt = service.last;
  attempt.head(101, [], down);
  reply.body?.attach(downSink);
  attempt.body?.attach(upSink);
  return { call, attempt, reply, up, down, upSink, downSink };
}

t.test("silence in both directions cuts a tunnel; bytes in either keep it", async (t) => {
  const clock = new FakeClock();
  const { attempt, reply, up, down, upSink, downSink } = openTunnel(clock, 60_000);
  clock.advance(59_000);
  up.arrive(Buffer.from("up"));
  clock.advance(59_000);
  down.arrive(Buffer.from("down"));
  clock.advance(59_000);
  t.equal(reply.outcome, "pending");
  up.arrive("end");
  clock.advance(59_000);
  t.equal(reply.outcome, "pending", "an end is a sign of life, too");
  t.equal(upSink.bytes.toString(), "up");
  t.equal(downSink.bytes.toString(), "down");
  t.ok(upSink.isEnded);
  clock.advance(1010);
  t.equal(reply.outcome, "101 stream_idle_timeout");
  t.equal(reply.error?.detail, "timer=tunnel_idle, value=1m, source=TrafficPolicy/default/api");
  t.equal(attempt.cancelledWith, reply.error, "the upstream was let go");
  t.equal(clock.pendingTimers, 0);
});

t.test("backpressure, failure and refusal pass through", async (t) => {
  const clock = new FakeClock();
  const { call, attempt, reply, up, down, upSink, downSink } = openTunnel(clock, 60_000);
  upSink.room = 1;
  up.arrive(Buffer.from("a"), Buffer.from("b"));
  t.equal(up.isPaused, true);
  upSink.room = 9;
  clock.advance(59_000);
  attempt.body?.resume();
  t.equal(upSink.bytes.toString(), "ab");
  clock.advance(59_000);
  t.equal(reply.outcome, "pending");
  down.fail(scriptedError);
  t.equal(downSink.failedWith, scriptedError);
  attempt.body?.cancel(scriptedError);
  t.equal(up.cancelledWith, scriptedError);
  const gone = new ProxyError("client_gone", "test");
  call.cancel(gone);
  t.equal(reply.outcome, "101 client_gone");
  clock.advance(6000);
  t.equal(clock.pendingTimers, 0, "the timer ends with the call");
});

t.test("no limit, requests, and answers that open no tunnel: no timer", async (t) => {
  const clock = new FakeClock();
  const unlimited = openTunnel(clock, 0);
  t.equal(unlimited.reply.body, unlimited.down, "nothing stands between");
  const service = new ScriptedService();
  const layer = tunnelIdle({ idleMs: 1000, source, wheel: new TimerWheel(clock), clock })(service);
  const body = new ScriptedSource();
  const request = scriptedRequest({ body });
  layer.call(request, new RecordedReply());
  t.equal(service.last.body, body, "a request passes by untouched");
  const declined = new RecordedReply();
  layer.call(tunnelRequest(new ScriptedSource()), declined);
  clock.advance(5000);
  t.equal(declined.outcome, "pending", "not before it is open");
  const page = new ScriptedSource();
  service.last.head(403, [], page);
  t.equal(declined.body, page);
  clock.advance(5000);
  service.last.end();
  t.equal(declined.outcome, "403");
  t.equal(clock.pendingTimers, 0);
});

t.test("an attempt that opens no tunnel leaves it to the next one", async (t) => {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const meters = {
    retries: new Counter(),
    successes: new Counter(),
    overflows: new Counter(),
    exhausted: new Counter(),
  };
  const budget = new RetryBudget({ percent: 20, minRetriesPerSecond: 10, windowMs: 10_000 });
  const service = new ScriptedService();
  const layer = retry({ config: undefined, budget, wheel, clock, meters })(
    tunnelIdle({ idleMs: 1000, source, wheel, clock })(service),
  );
  const early = Buffer.from("early");
  const start = (): { readonly up: ScriptedSource; readonly reply: RecordedReply } => {
    const up = new ScriptedSource();
    up.arrive(early);
    const reply = new RecordedReply();
    layer.call(tunnelRequest(up), reply);
    return { up, reply };
  };

  const opened = start();
  service.last.body?.cancel(scriptedError);
  service.last.fail("connect_failed");
  clock.advance(1000);
  t.equal(service.attempts.length, 2, "sent again");
  t.equal(opened.up.cancelledWith, null);
  service.last.head(101, [], new ScriptedSource());
  const sink = new ScriptedSink();
  service.last.body?.attach(sink);
  t.same(sink.bytes, early, "with all that the client has said");
  service.last.body?.cancel(scriptedError);
  t.equal(opened.up.cancelledWith, scriptedError, "once it is open, the client hears of a refusal");
  service.last.end();
  t.equal(opened.reply.outcome, "101");

  const declined = start();
  service.last.body?.cancel(scriptedError);
  t.equal(declined.up.cancelledWith, null, "there may be another attempt");
  service.last.respond(403);
  t.equal(declined.up.cancelledWith, scriptedError, "there will be none");

  const failed = start();
  service.last.body?.cancel(scriptedError);
  service.last.fail("upstream_protocol_error");
  t.equal(failed.reply.outcome, "upstream_protocol_error");
  t.equal(failed.up.cancelledWith, scriptedError);
});
