/** Classes of requests: where they come from, their bulkheads and queues, and whom an overloaded application is spared. */
import fc from "fast-check";
import t from "tap";
import type { BulkheadsConfig } from "../../src/config/bulkhead-config.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { Bulkheads } from "../../src/policy/bulkheads.js";
import { LoadShedder } from "../../src/policy/load-shedding.js";
import { inboundPriority, outboundPriority } from "../../src/policy/priority.js";
import { inboundHeaders, outboundHeaders } from "../../src/proxy/identity-headers.js";
import { rescue } from "../../src/proxy/rescue.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { stack, type Call, type Layer } from "../../src/stack/service.js";
import { Counter, Gauge, Histogram } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { priorities, priorityClasses, priorityOf, type PriorityClass } from "../../src/traffic/priority.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const gone = new ProxyError("client_gone", "test");

function classified(name: PriorityClass, deadlineMs = Infinity): RequestContext {
  const request = scriptedRequest();
  request.priority = priorityOf(name);
  request.deadlineMs = deadlineMs;
  return request;
}

t.test("the class of a request, and what the next one is told", async (t) => {
  const through = (layers: readonly Layer[], headers: readonly string[], peerId?: string) => {
    const upstream = new ScriptedService();
    const plain = scriptedRequest({ headers });
    const request = new RequestContext(plain.head, null, 0, "127.0.0.1:1", peerId);
    stack(layers, upstream).call(request, new RecordedReply());
    const told: string[] = [];
    const sent = request.head.headers;
    for (let i = 0; i < sent.length; i += 2)
      if (sent[i]?.toLowerCase().replaceAll("_", "-") === "x-remora-priority") told.push(sent[i + 1] ?? "");
    return [priorityClasses[request.priority], told.join()];
  };
  const out = outboundHeaders("node");
  const forged = ["X-Remora-Priority", "critical", "x_remora_priority", "critical"];
  t.same(through([out], forged), ["default", ""], "an application cannot choose without a policy");
  t.same(through([out, outboundPriority({ type: "class", class: "batch" })], forged), ["batch", "batch"]);
  const byHeader = outboundPriority({ type: "header", name: "x-priority" });
  t.same(through([out, byHeader], ["X-Priority", "critical"]), ["critical", "critical"]);
  t.same(through([out, byHeader], ["x-priority", "urgent"]), ["default", "default"], "unknown");
  t.same(through([out, byHeader], []), ["default", "default"], "absent");
  const handedOn = outboundPriority({ type: "header", name: "x-remora-priority" });
  t.same(
    through([out, handedOn], forged.slice(0, 2)),
    ["critical", "critical"],
    "the class it was called with",
  );
  t.same(through([out, handedOn], forged.slice(2)), ["default", "default"], "a twin is not it");

  const peer = "spiffe://mesh.local/ns/default/svc/web";
  const inn = inboundHeaders("spiffe://mesh.local/ns/default/svc/api");
  t.same(through([inn], ["x-remora-priority", "batch"], peer), ["batch", "batch"], "a sidecar is believed");
  t.same(through([inn], ["x-remora-priority", "now"], peer), ["default", "default"]);
  t.same(through([inn], forged), ["default", ""], "a caller without a certificate is not");
  const rule = inboundPriority({ type: "class", class: "batch" });
  t.same(through([inn, rule], forged), ["batch", "batch"], "what the service says of it counts");
  t.same(through([inn, rule], forged, peer), ["critical", "critical"], "the sidecar's word counts more");
  t.same(through([inn, rule], [], peer), ["batch", "batch"]);
  const named = inboundPriority({ type: "header", name: "x-priority" });
  t.same(through([inn, named], ["x-priority", "critical"]), ["default", ""], "not proven");
  t.same(through([inn, named], ["x-priority", "critical"], peer), ["critical", "critical"]);
});

function bulkheads(config: BulkheadsConfig, maxRequests = 10) {
  const clock = new FakeClock();
  const active = new Gauge();
  const rejected = new Counter();
  const meters = priorities.map(() => ({
    active: new Gauge(),
    pending: new Gauge(),
    full: new Counter(),
    expired: new Counter(),
    waitSeconds: new Histogram(Float64Array.of(0.1, 1)),
  }));
  const upstream = new ScriptedService();
  const source = "TrafficPolicy/default/api";
  const walls = new Bulkheads(
    { scope: "cluster api.default", active, rejected, meters, wheel: new TimerWheel(clock), clock },
    { maxRequests, bulkheads: config, source },
  );
  const service = walls.layer(upstream);
  const send = (name: PriorityClass, deadlineMs?: number) => {
    const reply = new RecordedReply();
    const call = service.call(classified(name, deadlineMs), reply);
    return { reply, call };
  };
  const sendMany = (name: PriorityClass, count: number) => Array.from({ length: count }, () => send(name));
  const of = (name: PriorityClass) => {
    const cells = meters[priorityOf(name)];
    if (cells === undefined) throw new Error(name);
    return cells;
  };
  /** Classes of the requests under way, in the order in which they were let in. */
  const running = () => upstream.attempts.filter(({ isEnded }) => !isEnded);
  const classes = () => running().map(({ request }) => priorityClasses[request.priority]);
  return { clock, walls, send, sendMany, of, running, classes, active, rejected, upstream, source };
}

t.test("bulkheads: what a class has of its own nobody else can take", async (t) => {
  const { sendMany, of, rejected, active } = bulkheads({
    critical: { maxRequests: 4, maxPending: 0, maxWaitMs: 0 },
    batch: { maxRequests: 2, maxPending: 0, maxWaitMs: 0 },
  });
  const batch = sendMany("batch", 9);
  t.equal(of("batch").active.value, 2);
  t.match(
    batch.at(-1)?.reply.error?.message,
    "concurrency limit reached: cluster api.default: priority=batch, all 2 places taken, limit=bulkheads.batch, source=TrafficPolicy/default/api",
  );
  sendMany("default", 9);
  t.equal(of("default").active.value, 4, "what the others leave");
  const critical = sendMany("critical", 5);
  t.same(
    critical.map(({ reply }) => reply.outcome),
    ["pending", "pending", "pending", "pending", "concurrency_limit"],
  );
  t.equal(active.value, 10);
  t.equal(rejected.value, 7 + 5 + 1);
  t.equal(of("batch").full.value, 7);
});

t.test("bulkheads: a queue is bounded, served in order, and left by whoever goes", async (t) => {
  const { clock, send, sendMany, of, running, active } = bulkheads({
    default: { maxRequests: 2, maxPending: 3, maxWaitMs: 200 },
  });
  const [first, second] = sendMany("default", 2);
  const waiting = sendMany("default", 3);
  t.equal(of("default").pending.value, 3);
  const refused = send("default");
  t.match(refused.reply.error?.message, /all 2 places taken and 3 waiting/);
  waiting[1]?.call.cancel(gone);
  t.equal(waiting[1]?.reply.error, gone, "cancelled while waiting");
  t.equal(of("default").pending.value, 2);
  const [running0] = running();
  running0?.respond(200);
  t.equal(first?.reply.outcome, "200");
  t.equal(of("default").pending.value, 1, "the first of the queue has its place");
  running().at(-1)?.respond(204);
  t.equal(waiting[0]?.reply.outcome, "204");
  t.equal(of("default").pending.value, 0);
  const late = send("default");
  clock.advance(199);
  t.equal(late.reply.outcome, "pending");
  clock.advance(11);
  t.equal(late.reply.outcome, "queue_timeout");
  t.match(
    late.reply.error?.message,
    /^no place in time: cluster .*priority=default, all 2 places taken for 200ms, .*maxWait, source=/,
  );
  t.equal(of("default").expired.value, 1);
  second?.call.cancel(gone);
  waiting[2]?.call.cancel(gone);
  t.equal(active.value, 0);
  t.equal(clock.pendingTimers, 0);
  t.equal(
    of("default").waitSeconds.counts.reduce((sum, n) => sum + n, 0),
    4,
    "every wait is told",
  );
});

t.test(
  "bulkheads: where classes share, the more important goes first; who has no time left goes unserved",
  async (t) => {
    const wait = { maxPending: 5, maxWaitMs: 1000 };
    const { clock, send, sendMany, running, classes, upstream } = bulkheads(
      { critical: wait, default: wait, batch: wait },
      1,
    );
    send("batch");
    const batch = send("batch");
    const hurried = send("default", 50);
    sendMany("default", 1);
    send("critical");
    clock.advance(60);
    for (let i = 0; i < 4; i++) running()[0]?.respond(200);
    t.same(
      upstream.attempts.map(({ request }) => priorityClasses[request.priority]),
      ["batch", "critical", "default", "batch"],
    );
    t.equal(hurried.reply.outcome, "queue_timeout", "its deadline had passed");
    t.equal(batch.reply.outcome, "200");
    t.same(classes(), []);
  },
);

t.test("bulkheads: waiters without number that fail at once need no deep stack", async (t) => {
  const { walls, send, sendMany, running, source } = bulkheads(
    { default: { maxPending: 20_000, maxWaitMs: 1000 } },
    1,
  );
  send("default");
  const waiting = sendMany("default", 20_000);
  const failing = new ScriptedService();
  failing.call = (_, reply): Call => {
    reply.end(new ProxyError("no_healthy_endpoint", "test"));
    return { cancel() {} };
  };
  const others = walls.layer(failing);
  t.equal(waiting.length, 20_000);
  walls.configure({
    maxRequests: 1,
    bulkheads: { default: { maxPending: 40_000, maxWaitMs: 1000 } },
    source,
  });
  const doomed = Array.from({ length: 20_000 }, () => {
    const reply = new RecordedReply();
    others.call(classified("default"), reply);
    return reply;
  });
  for (const { call } of waiting) call.cancel(gone);
  running()[0]?.respond(200);
  t.ok(doomed.every(({ outcome }) => outcome === "no_healthy_endpoint"));
});

t.test("bulkheads: a push changes the rules, not who is under way or waits", async (t) => {
  const { walls, send, sendMany, of, active, running, source } = bulkheads({
    batch: { maxRequests: 1, maxPending: 5, maxWaitMs: 1000 },
  });
  sendMany("batch", 3);
  t.equal(of("batch").active.value, 1);
  walls.configure({
    maxRequests: 10,
    bulkheads: { batch: { maxRequests: 2, maxPending: 0, maxWaitMs: 0 } },
    source,
  });
  t.equal(of("batch").active.value, 2, "a raised limit lets the next in");
  t.equal(of("batch").pending.value, 1, "whoever waits goes on waiting");
  t.equal(send("batch").reply.outcome, "concurrency_limit");
  walls.configure({ maxRequests: 10, bulkheads: {}, source });
  t.equal(of("batch").pending.value, 0);
  sendMany("default", 7);
  walls.configure({
    maxRequests: 10,
    bulkheads: { critical: { maxRequests: 5, maxPending: 0, maxWaitMs: 0 } },
    source,
  });
  t.equal(
    send("critical").reply.outcome,
    "concurrency_limit",
    "the whole holds while others have its places",
  );
  for (const attempt of running()) attempt.respond(200);
  t.equal(active.value, 0);
});

t.test(
  "bulkheads: a waiter cancelled within the call that starts it is cancelled all the same",
  async (t) => {
    const { walls, send, running } = bulkheads({ default: { maxPending: 5, maxWaitMs: 1000 } }, 1);
    send("default");
    const upstream = new ScriptedService((attempt) => attempt.head(503));
    const waiting: { call?: Call } = {};
    const reply = new RecordedReply();
    reply.head = () => waiting.call?.cancel(gone);
    waiting.call = walls.layer(upstream).call(classified("default"), reply);
    running()[0]?.respond(200);
    t.equal(upstream.last.cancelledWith, gone);
    t.equal(reply.error, gone);
  },
);

t.test("bulkheads: any sequence keeps the limits and ends every request once", async (t) => {
  const part = fc.record(
    { maxRequests: fc.integer({ min: 1, max: 3 }), maxPending: fc.nat(3), maxWaitMs: fc.constantFrom(0, 50) },
    { requiredKeys: ["maxPending", "maxWaitMs"] },
  );
  const config = fc.record({ critical: part, default: part, batch: part }, { requiredKeys: [] });
  const step = fc.record({
    does: fc.constantFrom("send", "send", "send", "end", "cancel", "wait", "push"),
    name: fc.constantFrom(...priorityClasses),
    n: fc.nat(20),
    config,
  });
  fc.assert(
    fc.property(config, fc.array(step, { maxLength: 60 }), (before, steps) => {
      const { clock, walls, send, of, running, active, source } = bulkheads(before, 10);
      const sent: ReturnType<typeof send>[] = [];
      for (const { does, name, n, config: next } of steps) {
        const present = running();
        if (does === "send") sent.push(send(name));
        else if (does === "end") present[n % Math.max(1, present.length)]?.respond(200);
        else if (does === "cancel") sent[n % Math.max(1, sent.length)]?.call.cancel(gone);
        else if (does === "wait") clock.advance(n);
        else walls.configure({ maxRequests: 10, bulkheads: next, source });
        const counted = priorities.reduce<number>(
          (sum, i) => sum + of(priorityClasses[i] ?? "default").active.value,
          0,
        );
        if (active.value !== running().length || counted !== active.value || active.value > 10) return false;
      }
      for (const { call } of sent) call.cancel(gone);
      clock.advance(100);
      return active.value === 0 && clock.pendingTimers === 0 && sent.every(({ reply }) => reply.ends === 1);
    }),
    { numRuns: 300 },
  );
  t.pass("property held");
});

function shedding(options: { maxRequests?: number; adaptive?: boolean }) {
  const clock = new FakeClock();
  const meters = priorities.map(() => ({ active: new Gauge(), shed: new Counter() }));
  const shedder = new LoadShedder({ clock, meters });
  const adaptive = { minLimit: 4, maxLimit: 100, tolerance: 1.5, windowMs: 100 };
  const config = {
    defaultSharePercent: 85,
    batchSharePercent: 60,
    source: "TrafficPolicy/default/api",
    ...(options.adaptive === true ? { adaptive } : {}),
  };
  shedder.configure(config, options.maxRequests ?? 0);
  const upstream = new ScriptedService();
  const service = stack([rescue, shedder.layer], upstream);
  const send = (name: PriorityClass, headers: readonly string[] = []) => {
    const reply = new RecordedReply();
    const request = scriptedRequest({ headers });
    request.priority = priorityOf(name);
    const call = service.call(request, reply);
    return { reply, call };
  };
  return { clock, meters, shedder, config, send, upstream };
}

t.test(
  "shedding: batch first, then default, critical last; the reply says why and when to come again",
  async (t) => {
    const { send, meters, shedder, config } = shedding({ maxRequests: 20 });
    const names = (count: number, name: PriorityClass) =>
      Array.from({ length: count }, () => send(name)).filter(({ reply }) => reply.ends === 0).length;
    t.equal(names(20, "batch"), 12, "60 %");
    t.equal(names(20, "default"), 5, "85 %");
    t.equal(names(20, "critical"), 3, "all of it");
    t.same(
      meters.map(({ shed }) => shed.value),
      [17, 15, 8],
    );
    const shed = send("batch").reply;
    t.equal(shed.outcome, "503");
    t.match(shed.headers.join(), "x-remora-error,overloaded,retry-after,1");
    const grpc = send("default", ["content-type", "application/grpc"]).reply;
    t.match(grpc.headers.join(), /grpc-status,14,.*x-remora-error,overloaded,grpc-retry-pushback-ms,1000/);
    shedder.configure({ ...config, batchSharePercent: 100 }, 40);
    t.equal(names(40, "batch"), 20, "a push counts those who are under way");
  },
);

t.test("shedding: every end gives the place back, an open tunnel too; one is always let in", async (t) => {
  const { send, meters, upstream } = shedding({ maxRequests: 1 });
  const total = (): number => meters.reduce((sum, { active }) => sum + active.value, 0);
  const tunnel = send("batch");
  t.equal(send("critical").reply.outcome, "503");
  upstream.last.head(101);
  t.equal(total(), 0, "no work that anybody waits for");
  send("critical").call.cancel(gone);
  t.equal(total(), 0);
  send("default");
  upstream.last.fail("upstream_reset");
  t.equal(total(), 0);
  tunnel.call.cancel(gone);
  t.equal(total(), 0, "given back once");
});

t.test(
  "shedding: an adaptive limit goes by answers, not by failures, and takes slowness that nobody waits for",
  async (t) => {
    const { clock, send, upstream, shedder } = shedding({ adaptive: true });
    const round = (latencyMs: number, act: () => void): void => {
      for (let i = 0; i < 12; i++) {
        send("critical");
        clock.advance(latencyMs);
        act();
      }
    };
    round(20, () => upstream.last.respond(200));
    const { baselineMs, limit } = shedder;
    t.ok(Math.abs(baselineMs - 20) < 1, `${baselineMs}`);
    for (let i = 0; i < 3; i++) {
      round(5, () => upstream.last.respond(500));
      round(5, () => upstream.last.respond(200, ["grpc-status", "14"]));
      round(5, () => upstream.last.fail("connect_failed"));
    }
    t.equal(shedder.baselineMs, baselineMs, "a quick failure is not a quick answer");
    round(200, () => upstream.last.cancel(gone));
    t.ok(shedder.limit < limit, `callers give up: ${shedder.limit} instead of ${limit}`);
  },
);
