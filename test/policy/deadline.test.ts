/** What sidecars tell each other of a request: the time that is left, the attempt, and whether retries were spent. */
import fc from "fast-check";
import t from "tap";
import { calledSideGraceMs, deadline, tellUpstream } from "../../src/policy/deadline.js";
import { recallOrigin, rememberRequests, RequestMemory } from "../../src/policy/request-memory.js";
import { inboundHeaders, outboundHeaders } from "../../src/proxy/identity-headers.js";
import { RequestContext } from "../../src/stack/request-context.js";
import { stack, type Layer } from "../../src/stack/service.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { getHeader } from "../../src/traffic/headers.js";
import { parseAttempt, parseTimeLeftMs, traceIdOf } from "../../src/traffic/hop-fields.js";
import { FakeClock } from "../support/fake-clock.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const timeLeft = "x-envoy-expected-rq-timeout-ms";
const attempt = "x-remora-attempt";
const trace = (id: string, span = "b7ad6b7169203331"): string[] => [
  "traceparent",
  `00-${id.padStart(32, "a")}-${span}-01`,
];

/** A sidecar's two sides, as the recipes have them, with the application played by the test. */
function sidecar() {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const memory = new RequestMemory();
  const expired = new Counter();
  const app = new ScriptedService();
  const upstream = new ScriptedService();
  const tell =
    (isTold: boolean): Layer =>
    (inner) => ({
      call(request, reply) {
        tellUpstream(request, isTold, clock.monotonicMs());
        return inner.call(request, reply);
      },
    });
  const inbound = stack(
    [
      inboundHeaders("self"),
      deadline({ wheel, graceMs: calledSideGraceMs, expired }),
      rememberRequests(memory),
      tell(true),
    ],
    app,
  );
  const outbound = stack(
    [outboundHeaders("node"), recallOrigin(memory), deadline({ wheel, graceMs: 0, expired }), tell(true)],
    upstream,
  );
  const receive = (headers: readonly string[], peerId: string | null = "spiffe://peer") => {
    const { head } = scriptedRequest({ headers });
    const request = new RequestContext(head, null, clock.monotonicMs(), "127.0.0.1:1", peerId ?? undefined);
    const reply = new RecordedReply();
    const call = inbound.call(request, reply);
    return { request, reply, call };
  };
  const send = (headers: readonly string[]) => {
    const request = scriptedRequest({ headers, startMs: clock.monotonicMs() });
    const reply = new RecordedReply();
    outbound.call(request, reply);
    return { request, reply };
  };
  return { clock, memory, expired, app, upstream, receive, send };
}

function told(service: ScriptedService): (string | undefined)[] {
  const { headers } = service.last.request.head;
  return [getHeader(headers, timeLeft), getHeader(headers, attempt)];
}

t.test("fields are read strictly", async (t) => {
  for (const [text, ms] of [
    ["250", 250],
    ["0", 0],
    ["", Infinity],
    ["-1", Infinity],
    ["1.5", Infinity],
    ["1e3", Infinity],
    ["99999999999", Infinity],
  ] as const)
    t.equal(parseTimeLeftMs(text), ms, text);
  for (const [text, number] of [
    ["2", 2],
    ["0", 1],
    ["9999", 9999],
    ["99999", 1],
    ["two", 1],
    ["", 1],
  ] as const)
    t.equal(parseAttempt(text), number, text);
  const id = "0af7651916cd43dd8448eb211c80319c";
  for (const [value, expected] of [
    [`00-${id}-b7ad6b7169203331-01`, id],
    [`cc-${id}-b7ad6b7169203331-01-what-the-future-will-be-like`, id],
    [`00-${id.toUpperCase()}-b7ad6b7169203331-01`, ""],
    [`00-${"0".repeat(32)}-b7ad6b7169203331-01`, ""],
    [`00-${id}`, ""],
    ["", ""],
  ] as const)
    t.equal(traceIdOf(["a", "b", "TraceParent", value]), expected, value);
});

t.test("inbound: a proven caller's deadline and attempt count, and the application is told", async (t) => {
  const cases: [name: string, headers: string[], peer: string | null, told: (string | undefined)[]][] = [
    ["nothing", [], "spiffe://p", [undefined, undefined]],
    ["both", [timeLeft, "250", attempt, "2"], "spiffe://p", ["250", "2"]],
    ["first attempt", [attempt, "1"], "spiffe://p", [undefined, undefined]],
    [
      "the strictest",
      [timeLeft, "900", "X-Envoy-Expected-Rq-Timeout-Ms", "30", attempt, "3", attempt, "2"],
      "spiffe://p",
      ["30", "3"],
    ],
    ["unreadable", [timeLeft, "soon", attempt, "-2"], "spiffe://p", [undefined, undefined]],
    [
      "twins",
      ["x_remora_attempt", "2", "x_envoy_expected_rq_timeout_ms", "5"],
      "spiffe://p",
      [undefined, undefined],
    ],
    ["plaintext", [timeLeft, "250", attempt, "2"], null, [undefined, undefined]],
  ];
  for (const [name, headers, peer, expected] of cases) {
    const { receive, app, clock } = sidecar();
    const { reply } = receive(headers, peer);
    t.same(told(app), expected, name);
    const names = app.last.request.head.headers
      .filter((_, index) => index % 2 === 0)
      .map((each) => each.toLowerCase());
    t.notOk(
      names.some((each) => each.includes("_")),
      name,
    );
    app.last.respond(200);
    t.equal(reply.outcome, "200", name);
    t.equal(clock.pendingTimers > 1, false, `${name}: no timer is left but the wheel's`);
  }
});

t.test(
  "inbound: a request is cut after its deadline, and one that comes late never reaches the application",
  async (t) => {
    const { clock, receive, app, expired } = sidecar();
    const { reply } = receive([timeLeft, "250"]);
    clock.advance(250 + calledSideGraceMs - 1);
    t.equal(reply.outcome, "pending", "the caller's own timer comes first");
    clock.advance(11);
    t.equal(reply.outcome, "route_timeout");
    t.equal(reply.error?.detail, "timer=deadline, value=250ms, source=caller");
    t.equal(expired.value, 0);

    const late = receive([timeLeft, "0"]);
    const lateGrpc = receive(["content-type", "application/grpc", "grpc-timeout", "1n"]);
    t.equal(app.attempts.length, 1);
    t.same([late.reply.outcome, lateGrpc.reply.outcome], ["route_timeout", "route_timeout"]);
    t.equal(late.reply.error?.detail, "timer=deadline, value=0s, source=caller");
    t.equal(expired.value, 2);

    const both = receive(["content-type", "application/grpc", "grpc-timeout", "1S", timeLeft, "250"]);
    clock.advance(250 + calledSideGraceMs + 10);
    t.equal(both.reply.outcome, "route_timeout", "of two the shorter one");
  },
);

t.test("outbound: what the application forwards binds its own requests", async (t) => {
  const { clock, send, upstream, expired } = sidecar();
  const { request, reply } = send([timeLeft, "250", attempt, "2"]);
  t.same(told(upstream), ["250", "2"]);
  t.ok(request.isRepetition);
  clock.advance(261);
  t.equal(reply.outcome, "route_timeout");
  t.equal(send([timeLeft, "0"]).reply.outcome, "route_timeout");
  t.equal(expired.value, 1);
  t.notOk(send([]).request.isRepetition);
});

t.test("outbound: an application that forwards trace headers is known by them", async (t) => {
  const cases: [
    name: string,
    inbound: string[][],
    outbound: string[],
    left: string | undefined,
    attempt: string | undefined,
  ][] = [
    [
      "by trace",
      [[...trace("1"), timeLeft, "500", attempt, "2"]],
      trace("1", "00f067aa0ba902b7"),
      "400",
      "2",
    ],
    [
      "by request id",
      [["x-request-id", "r1", timeLeft, "500", attempt, "3"]],
      ["X-Request-Id", "r1"],
      "400",
      "3",
    ],
    [
      "by either",
      [["x-request-id", "r1", ...trace("1"), timeLeft, "500"]],
      ["x-request-id", "r1"],
      "400",
      undefined,
    ],
    ["another trace", [[...trace("1"), timeLeft, "500", attempt, "2"]], trace("2"), undefined, undefined],
    ["nothing forwarded", [[...trace("1"), timeLeft, "500", attempt, "2"]], [], undefined, undefined],
    [
      "own time is shorter",
      [[...trace("1"), timeLeft, "500"]],
      [...trace("1"), timeLeft, "70"],
      "70",
      undefined,
    ],
    [
      "own time is longer",
      [[...trace("1"), timeLeft, "500"]],
      [...trace("1"), timeLeft, "7000"],
      "400",
      undefined,
    ],
    [
      "several: the latest deadline, the lowest attempt",
      [
        [...trace("1"), timeLeft, "500", attempt, "4"],
        [...trace("1"), timeLeft, "900", attempt, "3"],
      ],
      trace("1"),
      "800",
      "3",
    ],
    [
      "several: one without a deadline",
      [[...trace("1"), timeLeft, "500", attempt, "4"], trace("1")],
      trace("1"),
      undefined,
      undefined,
    ],
    [
      "the trace goes before the id",
      [
        [...trace("1"), "x-request-id", "a", timeLeft, "500"],
        ["x-request-id", "r1", timeLeft, "300"],
      ],
      [...trace("1"), "x-request-id", "r1"],
      "400",
      undefined,
    ],
  ];
  for (const [name, inbounds, headers, left, number] of cases) {
    const { clock, receive, send, upstream, app, memory } = sidecar();
    for (const each of inbounds) receive(each);
    clock.advance(100);
    send(headers);
    t.same(told(upstream), [left, number], name);
    for (const each of app.attempts) each.respond(200);
    t.equal(memory.size, 0, `${name}: nothing is remembered of what has ended`);
    send(headers.filter((_, index) => headers[index - (index % 2)] !== timeLeft));
    t.same(told(upstream), [undefined, undefined], `${name}: nor applied`);
  }
});

t.test("a tunnel's deadline is none for what is asked through it", async (t) => {
  const { receive, send, app, upstream, memory } = sidecar();
  receive([...trace("1"), timeLeft, "500"]);
  app.last.head(101);
  t.equal(memory.size, 0);
  send(trace("1"));
  t.same(told(upstream), [undefined, undefined]);
  app.last.end();
});

t.test("the caller is told when retries were spent on what failed", async (t) => {
  const cases: [name: string, spent: boolean, status: number, headers: string[], mark: string | undefined][] =
    [
      ["spent, failed", true, 503, [], "spent"],
      ["spent, told by the application already", true, 503, ["x-remora-retries", "spent"], "spent"],
      ["spent, but good", true, 200, [], undefined],
      ["spent, gRPC", true, 200, ["content-type", "application/grpc", "grpc-status", "14"], "spent"],
      ["not spent", false, 503, [], undefined],
    ];
  for (const [name, spent, status, headers, mark] of cases) {
    const { receive, send, app } = sidecar();
    const { reply } = receive(["x-request-id", "r1", ...trace("1")]);
    const { request } = send(["x-request-id", "r1"]);
    t.ok(request.origin, name);
    if (request.origin !== null) request.origin.hasSpentRetries = spent;
    app.last.respond(status, [...headers]);
    const marks = reply.headers.filter(
      (_, index) => index % 2 === 1 && reply.headers[index - 1] === "x-remora-retries",
    );
    t.same(marks, mark === undefined ? [] : [mark], name);
  }
});

t.test("only sidecars are told, and what one was told does not stay for others", async (t) => {
  const request = scriptedRequest();
  request.deadlineMs = 1000;
  request.attempt = 2;
  const names = (): string[] => request.head.headers.filter((_, index) => index % 2 === 0);
  tellUpstream(request, true, 400);
  t.same(names(), ["host", timeLeft, attempt]);
  t.equal(getHeader(request.head.headers, timeLeft), "600");
  tellUpstream(request, false, 500);
  t.same(names(), ["host"]);
  request.attemptTimeoutMs = 300;
  tellUpstream(request, true, 500);
  t.equal(getHeader(request.head.headers, timeLeft), "300");
  tellUpstream(request, true, 2000);
  t.equal(getHeader(request.head.headers, timeLeft), "0");
});

t.test("whatever comes and goes, the memory holds what is under way and no more", async (t) => {
  const step = fc.record({
    name: fc.integer({ min: 0, max: 3 }),
    deadlineMs: fc.integer({ min: 1, max: 9 }),
    ends: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const memory = new RequestMemory();
      const open: { request: RequestContext; forget: () => void }[] = [];
      for (const { name, deadlineMs, ends } of steps) {
        if (ends) open.shift()?.forget();
        const request = scriptedRequest({ headers: name === 0 ? trace("9") : [] });
        request.id = `r${name}`;
        request.deadlineMs = deadlineMs;
        const remembered = memory.remember(request);
        open.push({ request, forget: () => remembered.forget() });
        const same = open.filter((each) => each.request.id === request.id);
        const latest = Math.max(...same.map((each) => each.request.deadlineMs));
        // Beyond 64 of one name nothing is known for certain.
        const expected = same.length > 64 ? Infinity : latest;
        if (same.length <= 64 && memory.recall(request)?.deadlineMs !== expected) return false;
      }
      for (const { forget } of open) forget();
      return memory.size === 0;
    }),
  );
  const memory = new RequestMemory();
  const request = (): RequestContext => Object.assign(scriptedRequest(), { id: "same", deadlineMs: 5 });
  const crowd = Array.from({ length: 65 }, () => memory.remember(request()));
  t.equal(memory.recall(request())?.deadlineMs, Infinity, "a crowd has no limits");
  for (const each of crowd) each.forget();
  t.equal(memory.size, 0);
});
