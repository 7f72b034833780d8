import t from "tap";
import { streamIdle } from "../../src/policy/stream-idle.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

function setup(idleMs: number) {
  const clock = new FakeClock();
  const upstream = new ScriptedService();
  const wheel = new TimerWheel(clock);
  const service = streamIdle({ idle: { idleMs, source: "TrafficPolicy/default/api" }, wheel, clock })(
    upstream,
  );
  return { clock, upstream, service, reply: new RecordedReply() };
}

t.test("silence ends a request, movement in either direction does not", async (t) => {
  const { clock, upstream, service, reply } = setup(1000);
  const upload = new ScriptedSource();
  const request = scriptedRequest({ method: "POST", body: upload });
  service.call(request, reply);
  t.ok(request.hasOwnIdle, "the server connection leaves it alone");
  upstream.last.body?.attach(new ScriptedSink());
  for (let i = 0; i < 3; i++) {
    clock.advance(900);
    upload.arrive(Buffer.from("more"));
  }
  clock.advance(900);
  upstream.last.informational(103);
  clock.advance(900);
  const download = new ScriptedSource();
  upstream.last.head(200, [], download);
  const sink = new ScriptedSink();
  reply.body?.attach(sink);
  clock.advance(900);
  download.arrive(Buffer.from("a"));
  sink.room = 1;
  clock.advance(900);
  download.arrive(Buffer.from("b"));
  clock.advance(900);
  reply.body?.resume();
  clock.advance(999);
  t.equal(reply.outcome, "pending", "a consumer that takes what it was given is alive");
  clock.advance(12);
  t.equal(reply.outcome, "200 stream_idle_timeout");
  t.equal(reply.error?.detail, "timer=stream_idle, value=1s, source=TrafficPolicy/default/api");
  t.equal(clock.pendingTimers, 0);
});

t.test("waiting for the response is silence, too; an answer in time ends the watch", async (t) => {
  const silent = setup(1000);
  silent.service.call(scriptedRequest(), silent.reply);
  silent.clock.advance(1011);
  t.equal(silent.reply.outcome, "stream_idle_timeout");
  const { clock, upstream, service, reply } = setup(1000);
  service.call(scriptedRequest(), reply);
  clock.advance(990);
  upstream.last.respond(200);
  clock.advance(5000);
  t.equal(reply.outcome, "200");
  t.equal(clock.pendingTimers, 0);
});

t.test("0 is no limit; tunnels and callers that go away are let be", async (t) => {
  const never = setup(0);
  const unlimited = scriptedRequest();
  never.service.call(unlimited, never.reply);
  t.ok(unlimited.hasOwnIdle);
  t.equal(never.clock.pendingTimers, 0);
  const { upstream, service, reply, clock } = setup(1000);
  const tunnel = scriptedRequest();
  tunnel.head.upgrade = "websocket";
  service.call(tunnel, reply);
  t.notOk(tunnel.hasOwnIdle);
  t.equal(clock.pendingTimers, 0);
  upstream.last.respond(200);
});
