/** Copies of requests: what they carry, and that the original does not notice them. */
import fc from "fast-check";
import t from "tap";
import { maxActiveMirrors, mirror } from "../../src/policy/mirror.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { BufferedBody } from "../../src/traffic/body.js";
import { getHeader } from "../../src/traffic/headers.js";
import { batchPriority, defaultPriority } from "../../src/traffic/priority.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

function setup(...shares: readonly number[]) {
  const clock = new FakeClock();
  const metrics = new PolicyMetrics(new Metrics());
  const original = new ScriptedService();
  const mirrors = shares.map((perMillion, i) => ({
    perMillion,
    service: new ScriptedService(),
    meters: metrics.mirror(`mirror-${i}`),
  }));
  const service = mirror({ targets: mirrors, routeName: "httproute/default/r/0", clock })(original);
  const send = (options: Parameters<typeof scriptedRequest>[0] = {}) => {
    const request = scriptedRequest(options);
    const reply = new RecordedReply();
    service.call(request, reply);
    return { request, reply };
  };
  return { clock, original, mirrors, send };
}

t.test("a copy is of the class batch, whatever the original is", async (t) => {
  for (const stated of [undefined, "critical", "batch"]) {
    const { original, mirrors, send } = setup(1_000_000);
    const { request } = send({ headers: stated === undefined ? [] : ["x-remora-priority", stated] });
    const copy = mirrors[0]?.service.last.request;
    t.equal(copy?.priority, batchPriority);
    const fields = (copy?.head.headers ?? []).filter((_, i, all) => all[i - 1] === "x-remora-priority");
    t.same(fields, ["batch"]);
    t.equal(request.priority, defaultPriority, "the original keeps its own");
    t.equal(getHeader(original.last.request.head.headers, "x-remora-priority"), stated);
  }
});

t.test("a copy has the request's head and a mark of its own; its answer goes nowhere", async (t) => {
  const { original, mirrors, send } = setup(1_000_000, 1_000_000);
  const { reply } = send({ headers: ["x-a", "1", "x-remora-hop", "web-1"] });
  original.last.request.head.headers.push("x-only-original", "1");
  for (const { service, meters } of mirrors) {
    const { head } = service.last.request;
    t.equal(getHeader(head.headers, "x-a"), "1");
    t.equal(getHeader(head.headers, "x-remora-hop"), "web-1", "loops are still seen");
    t.equal(getHeader(head.headers, "x-remora-mirror"), "httproute/default/r/0");
    t.equal(getHeader(head.headers, "x-only-original"), undefined);
    t.equal(head.authority, "api.mesh");
    t.equal(meters.active.value, 1);
  }
  t.equal(getHeader(original.last.request.head.headers, "x-remora-mirror"), undefined);
  const [first, second] = mirrors;
  first?.service.last.head(200, [], new BufferedBody(Buffer.from("ignored")));
  first?.service.last.end();
  second?.service.last.fail("connect_failed");
  t.equal(reply.outcome, "pending");
  original.last.respond(204);
  t.equal(reply.outcome, "204");
  t.same(
    mirrors.map(({ meters }) => [meters.active.value, meters.answered.value, meters.failed.value]),
    [
      [0, 1, 0],
      [0, 0, 1],
    ],
  );
  send();
  first?.service.last.respond(503);
  t.equal(first?.meters.failed.value, 1);
});

t.test("a share of the requests, not tunnels, and not more than so many at once", async (t) => {
  const { clock, original, mirrors, send } = setup(100_000);
  const [{ service, meters } = { service: original, meters: undefined }] = mirrors;
  clock.randoms = [0.0999, 0.1, 0.5, 0.05];
  for (let i = 0; i < 4; i++) send();
  t.same([service.attempts.length, original.attempts.length], [2, 4]);
  const all = setup(1_000_000);
  const tunnel = scriptedRequest();
  tunnel.head.upgrade = "websocket";
  for (let i = 0; i < maxActiveMirrors + 3; i++) all.send();
  t.same([all.mirrors[0]?.meters.active.value, all.mirrors[0]?.meters.skipped.value], [maxActiveMirrors, 3]);
  t.equal(all.original.attempts.length, maxActiveMirrors + 3);
  t.ok(meters);
});

t.test("a slow mirror loses its copy; the original flows on", async (t) => {
  const { original, mirrors, send } = setup(1_000_000, 1_000_000);
  const body = new ScriptedSource();
  const { reply } = send({ method: "POST", body });
  const sink = new ScriptedSink();
  original.last.body?.attach(sink);
  const [slow, quick] = mirrors;
  const slowSink = new ScriptedSink();
  slowSink.room = 1;
  slow?.service.last.body?.attach(slowSink);
  const quickSink = new ScriptedSink();
  quick?.service.last.body?.attach(quickSink);
  for (let i = 0; i < 20; i++) body.arrive(Buffer.alloc(16_384, i));
  body.arrive("end");
  t.equal(body.isPaused, false);
  t.same([sink.bytes.length, sink.isEnded], [20 * 16_384, true]);
  t.ok(quickSink.bytes.equals(sink.bytes) && quickSink.isEnded, "the other copy is whole");
  t.same(quickSink.trailers, sink.trailers);
  t.ok(slowSink.failedWith, "cut off");
  slow?.service.last.end(slowSink.failedWith);
  quick?.service.last.respond(200);
  original.last.respond(200);
  t.equal(reply.outcome, "200");
  t.same([slow?.meters.cutOff.value, slow?.meters.failed.value, quick?.meters.answered.value], [1, 0, 1]);
});

t.test("when the original ends before its body the copy does, too", async (t) => {
  const { original, mirrors, send } = setup(1_000_000);
  const body = new ScriptedSource();
  send({ method: "PUT", body });
  const copy = mirrors[0]?.service.last;
  const sink = new ScriptedSink();
  copy?.body?.attach(sink);
  original.last.body?.attach(new ScriptedSink());
  body.arrive(Buffer.from("half"));
  original.last.fail("upstream_reset");
  t.ok(sink.failedWith);
  copy?.end(sink.failedWith);
  t.equal(mirrors[0]?.meters.cutOff.value, 1);
  // Nobody took the body when it was cut off: it is told as soon as somebody does.
  const late = setup(1_000_000);
  late.send({ method: "PUT", body: new ScriptedSource() });
  late.original.last.fail("connect_failed");
  const lateSink = new ScriptedSink();
  late.mirrors[0]?.service.last.body?.attach(lateSink);
  t.ok(lateSink.failedWith);
});

t.test("a mirror that throws is its own problem", async (t) => {
  const clock = new FakeClock();
  const meters = new PolicyMetrics(new Metrics()).mirror("m");
  const original = new ScriptedService((attempt) => attempt.respond(200));
  const broken = {
    call() {
      throw new Error("scripted");
    },
  };
  const reply = new RecordedReply();
  mirror({ targets: [{ service: broken, perMillion: 1_000_000, meters }], routeName: "r", clock })(
    original,
  ).call(scriptedRequest(), reply);
  t.same([reply.outcome, meters.failed.value, meters.active.value], ["200", 1, 0]);
});

t.test(
  "however the bytes come and whoever has room: the original is whole, a copy is whole or cut off",
  async (t) => {
    const event = fc.oneof(
      fc.integer({ min: 1, max: 30_000 }),
      fc.constantFrom("attach original", "attach copy", "room", "copy room"),
    );
    const property = fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const { original, mirrors, send } = setup(1_000_000);
      const body = new ScriptedSource();
      send({ method: "POST", body });
      const own = original.last.body;
      const copied = mirrors[0]?.service.last.body;
      const sinks = [new ScriptedSink(), new ScriptedSink()] as const;
      const attached = [false, false];
      const attach = (index: 0 | 1): void => {
        if (attached[index]) return;
        attached[index] = true;
        (index === 0 ? own : copied)?.attach(sinks[index]);
      };
      sinks[0].room = 3;
      sinks[1].room = 2;
      const sent: Buffer[] = [];
      for (const each of events) {
        if (typeof each === "number") {
          const chunk = Buffer.alloc(each, sent.length);
          sent.push(chunk);
          body.arrive(chunk);
        }
        if (each === "attach original") attach(0);
        if (each === "attach copy") attach(1);
        if (each === "room" && attached[0]) {
          sinks[0].room = 3;
          own?.resume();
        }
        if (each === "copy room" && attached[1]) {
          sinks[1].room = 2;
          copied?.resume();
        }
      }
      body.arrive("end");
      for (const sink of sinks) sink.room = Infinity;
      attach(0);
      own?.resume();
      attach(1);
      copied?.resume();
      const whole = Buffer.concat(sent);
      const isWhole = sinks[0].isEnded && sinks[0].bytes.equals(whole);
      const copyIsWhole = sinks[1].isEnded && sinks[1].bytes.equals(whole);
      return isWhole && (copyIsWhole || sinks[1].failedWith !== null);
    });
    t.doesNotThrow(() => fc.assert(property, { numRuns: 300 }));
  },
);
