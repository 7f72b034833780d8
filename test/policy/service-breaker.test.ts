import fc from "fast-check";
import t from "tap";
import { serviceBreakerDefaults } from "../../src/config/cluster-defaults.js";
import type { ServiceBreakerConfig } from "../../src/config/service-breaker-config.js";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { serviceBreaker } from "../../src/policy/service-breaker-layer.js";
import { openReason, type Verdicts } from "../../src/policy/service-breaker-state.js";
import { ServiceBreaker } from "../../src/policy/service-breaker.js";
import { Counter } from "../../src/telemetry/cells.js";
import { BufferedBody } from "../../src/traffic/body.js";
import { FakeClock } from "../support/fake-clock.js";
import { endpointConfig } from "../support/scripted-endpoint.js";
import { RecordedReply, ScriptedService, scriptedRequest } from "../support/scripted-service.js";

const config: ServiceBreakerConfig = {
  ...serviceBreakerDefaults,
  jitterRatio: 0,
  slowCalls: { thresholdMs: 1000, ratio: 0.5 },
};

/** A breaker around a service played by the test. `null`: without configuration. */
function guarded(change: Partial<ServiceBreakerConfig> | null = {}) {
  const clock = new FakeClock();
  const events: string[] = [];
  const [rejected, slowCalls] = [new Counter(), new Counter()];
  const breaker = new ServiceBreaker(
    change === null ? undefined : { ...config, ...change },
    "TrafficPolicy/default/api",
    {
      ...{ service: "api.default", clock, rejected, slowCalls },
      onEvent: ({ from, to, reason, forMs, detail }) =>
        void events.push(`${from} -> ${to}: ${reason} ${forMs} ${detail}`.trim()),
    },
  );
  const upstream = new ScriptedService();
  const service = serviceBreaker(breaker, clock)(upstream);
  const send = (headers: readonly string[] = []) => {
    const sent = upstream.attempts.length;
    const reply = new RecordedReply();
    const call = service.call(scriptedRequest({ startMs: clock.monotonicMs(), headers }), reply);
    return { call, reply, attempt: upstream.attempts[sent] };
  };
  /** Sends requests, each answered at once. True for each that came through. */
  const answered = (...statuses: number[]) =>
    statuses.map((status) => {
      const { attempt } = send();
      attempt?.respond(status);
      return attempt !== undefined;
    });
  return { clock, events, breaker, send, answered, rejected, slowCalls };
}

const bad = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 200 : 500));

t.test("opens by failures or by slow requests, at the ratio and from the volume on: table", async (t) => {
  const cases: [Partial<ServiceBreakerConfig>, Verdicts, string | undefined][] = [
    [{}, { requests: 19, failures: 19, slow: 19 }, undefined],
    [{}, { requests: 20, failures: 9, slow: 9 }, undefined],
    [{}, { requests: 20, failures: 10, slow: 0 }, "failure-ratio"],
    [{}, { requests: 20, failures: 0, slow: 10 }, "slow-calls"],
    [{}, { requests: 20, failures: 10, slow: 10 }, "failure-ratio"],
    [{ failureRatio: 0 }, { requests: 20, failures: 20, slow: 0 }, undefined],
    [{ failureRatio: 1 }, { requests: 20, failures: 19, slow: 0 }, undefined],
    [{ failureRatio: 1 }, { requests: 20, failures: 20, slow: 0 }, "failure-ratio"],
    [{ minRequests: 1 }, { requests: 1, failures: 1, slow: 0 }, "failure-ratio"],
  ];
  for (const [change, verdicts, expected] of cases)
    t.equal(openReason({ ...config, ...change }, verdicts), expected, JSON.stringify([change, verdicts]));
});

t.test("closed, open, half-open, closed: nobody is sent on meanwhile", async (t) => {
  const { clock, events, breaker, send, answered, rejected } = guarded();
  answered(...bad.slice(0, 19));
  t.equal(breaker.describe().state, "closed", "19 are too few");
  answered(500);
  t.same(events, [
    "closed -> open: failure-ratio 5000 10 of 20 requests failed within 10s, failureRatio=0.5",
  ]);
  const { reply, attempt } = send();
  t.equal(attempt, undefined, "the service has rest");
  t.match(reply.error, {
    code: "circuit_open",
    row: { status: 503, grpcStatus: 14, flag: "UO", retry: "never" },
    detail:
      "service api.default: 10 of 20 requests failed within 10s, failureRatio=0.5; next probe in 5.0s, source=TrafficPolicy/default/api",
  });
  clock.advance(4950);
  t.match(send().reply.error, { detail: /next probe in 0\.1s/ });
  t.equal(rejected.value, 2);
  clock.advance(50);
  const probes = Array.from({ length: 7 }, () => send());
  t.same(
    probes.map(({ attempt: probe }) => probe !== undefined),
    [true, true, true, true, true, false, false],
  );
  t.match(probes[6]?.reply.error, { detail: /half-open, 5 probes under way decide/ });
  for (const { attempt: probe } of probes.slice(0, 4)) probe?.respond(200);
  t.equal(breaker.describe().state, "half-open", "four of five are not enough");
  t.equal(send().attempt, undefined, "nor is there a sixth");
  probes[4]?.attempt?.respond(200);
  t.same(events.slice(1), ["open -> half-open: open-time-over 0", "half-open -> closed: probes-succeeded 0"]);
});

t.test("an opening that is over shows as half-open, also where nobody sends a request", async (t) => {
  const { clock, events, breaker, answered } = guarded();
  answered(...bad);
  clock.advance(4999);
  t.match(breaker.describe(), { state: "open", remainingMs: 1 });
  clock.advance(1);
  t.match(breaker.describe(), { state: "half-open", remainingMs: 0, reason: undefined, share: 0 });
  t.same(events.slice(1), ["open -> half-open: open-time-over 0"]);
  clock.advance(60_000);
  breaker.look(clock.monotonicMs());
  t.match(breaker.describe(), { state: "half-open", sinceMs: 60_000 });
  t.equal(events.length, 2, "told once");
  breaker.hold("open", clock.monotonicMs() + 1000, clock.monotonicMs());
  clock.advance(5000);
  t.equal(breaker.describe().state, "open", "what an operator holds is ended by whoever held it");
});

t.test("what sidecars turned away for want of room is no failure of the service", async (t) => {
  const shed = ["x-remora-error", "overloaded"];
  const { clock, events, breaker, send, answered } = guarded({ halfOpenRequests: 1 });
  const refuse = (headers: readonly string[], meshed: boolean): void => {
    const { attempt } = send();
    attempt?.request.attemptAt({ key: "1", config: endpointConfig(1, { meshed }) });
    attempt?.respond(503, [...headers]);
  };
  for (let i = 0; i < 100; i++) refuse(shed, true);
  t.match(breaker.describe(), { state: "closed", requests: 0, failures: 0 });
  for (let i = 0; i < 19; i++) refuse(i % 2 === 0 ? [] : ["x-remora-error", "connect_failed"], true);
  t.equal(breaker.describe().state, "closed");
  refuse(shed, false);
  t.match(breaker.describe(), { state: "open", failures: 20 }, "others' word for it is not enough");

  clock.advance(5000);
  refuse(shed, true);
  t.equal(breaker.describe().state, "half-open", "says nothing, and makes room for another probe");
  answered(200);
  t.equal(events.at(-1), "half-open -> closed: probes-succeeded 0");
});

t.test("probes: as soon as they cannot be good enough any more it opens again, for longer", async (t) => {
  const cases: [string, string, number[]][] = [
    ["three failures of five", "open", [500, 500, 500]],
    ["two failures of five", "closed", [500, 500, 200, 200, 200]],
    ["mixed", "open", [200, 200, 500, 500, 503]],
  ];
  for (const [name, expected, statuses] of cases) {
    const { clock, breaker, answered } = guarded();
    answered(...bad);
    clock.advance(5000);
    answered(...statuses);
    t.match(breaker.describe(), { state: expected, openings: expected === "open" ? 2 : 1 }, name);
  }
  const { clock, events, answered, breaker } = guarded({ maxOpenMs: 15_000 });
  answered(...bad);
  for (const openMs of [5000, 10_000, 15_000, 15_000]) {
    clock.advance(openMs - 1);
    t.same(answered(200), [false]);
    clock.advance(1);
    t.same(answered(500, 500, 500, 200), [true, true, true, false], `after ${openMs} ms`);
  }
  t.equal(events.at(-1), "half-open -> open: probes-failed 15000 3 of 3 probes failed");
  t.equal(breaker.describe().openings, 5);
});

t.test("an opening is spread by its jitter", async (t) => {
  for (const [chance, expectedMs] of [
    [0, 4000],
    [0.5, 5000],
    [0.999, 5998],
  ] as const) {
    const { clock, answered, breaker } = guarded({ jitterRatio: 0.2 });
    clock.randoms = [chance];
    answered(...bad);
    t.equal(breaker.describe().remainingMs, expectedMs);
  }
});

t.test(
  "after closing, the share of requests grows in a line; trouble meanwhile opens for longer",
  async (t) => {
    const { clock, answered, send, breaker } = guarded();
    const share = (): number => answered(...Array.from({ length: 100 }, () => 200)).filter(Boolean).length;
    answered(...bad);
    clock.advance(5000);
    answered(200, 200, 200, 200, 200);
    for (const [afterMs, expected] of [
      [0, 10],
      [2500, 33],
      [2500, 55],
      [4000, 91],
      [1000, 100],
    ] as const) {
      clock.advance(afterMs);
      t.ok(Math.abs(share() - expected) <= 1, `${Math.round(breaker.describe().share * 100)} %`);
      if (expected === 55)
        t.match([send(), send()].find(({ attempt }) => attempt === undefined)?.reply.error, {
          detail: /closed again, 55 % of the requests are let through, all of them in 5\.0s/,
        });
    }
    clock.advance(20_000);
    answered(...bad);
    t.equal(breaker.describe().remainingMs, 5000, "trouble long after that is new trouble");

    const again = guarded();
    again.answered(...bad);
    again.clock.advance(5000);
    again.answered(200, 200, 200, 200, 200);
    again.clock.advance(9000);
    again.answered(...bad, ...bad);
    t.match(again.breaker.describe(), { state: "open", openings: 2, remainingMs: 10_000 });
    const atOnce = guarded({ rampMs: 0 });
    atOnce.answered(...bad);
    atOnce.clock.advance(5000);
    t.ok(atOnce.answered(...Array.from({ length: 100 }, () => 200)).every(Boolean), "without a ramp");
  },
);

t.test("what a request says about its service: table", async (t) => {
  const cases: [name: string, waitMs: number, steps: (number | ErrorCode | "end")[], verdict: string][] = [
    ["200", 0, [200, "end"], "1 0 0"],
    ["404", 0, [404, "end"], "1 0 0"],
    ["429", 0, [429, "end"], "1 0 0"],
    ["500", 0, [500, "end"], "1 1 0"],
    ["503", 0, [503, "end"], "1 1 0"],
    ["refused", 0, ["connect_failed"], "1 1 0"],
    ["reset", 0, ["upstream_reset"], "1 1 0"],
    ["all ejected", 0, ["no_healthy_endpoint"], "1 1 0"],
    ["attempt timeout", 0, ["attempt_timeout"], "1 1 0"],
    ["route timeout", 2000, ["route_timeout"], "1 1 1"],
    ["cut short", 0, [200, "upstream_truncated"], "2 1 0"],
    ["failed and cut short", 0, [500, "upstream_truncated"], "1 1 0"],
    ["client gone", 0, ["client_gone"], "0 0 0"],
    ["client gone after the head", 0, [200, "client_gone"], "1 0 0"],
    ["client gave up on what hangs", 1000, ["client_gone"], "1 0 1"],
    ["our limit", 0, ["concurrency_limit"], "0 0 0"],
    ["no plaintext", 0, ["plaintext_refused"], "0 0 0"],
    ["slow", 1000, [200, "end"], "1 0 1"],
    ["not slow", 999, [200, "end"], "1 0 0"],
    ["slow and failed", 1000, [500, "end"], "1 1 1"],
  ];
  for (const [name, waitMs, steps, verdict] of cases) {
    const { clock, breaker, send } = guarded();
    const { attempt, reply } = send();
    clock.advance(waitMs);
    for (const step of steps) {
      if (typeof step === "number") attempt?.head(step);
      else if (step === "end") attempt?.end();
      else attempt?.fail(step);
    }
    const { requests, failures, slow } = breaker.describe();
    t.equal(`${requests} ${failures} ${slow}`, verdict, name);
    t.equal(reply.ends, 1, name);

    const probing = guarded({ halfOpenRequests: 1 });
    probing.answered(...bad);
    probing.clock.advance(5000);
    const probe = probing.send();
    t.equal(probing.send().attempt, undefined, "one probe at a time");
    probing.clock.advance(waitMs);
    for (const step of steps) {
      if (typeof step === "number") probe.attempt?.head(step);
      else if (step === "end") probe.attempt?.end();
      else probe.attempt?.fail(step);
    }
    const isBad = verdict !== "0 0 0" && verdict !== "1 0 0" && name !== "cut short";
    const expected = verdict === "0 0 0" ? "half-open" : isBad ? "open" : "closed";
    t.equal(probing.breaker.describe().state, expected, `probe: ${name}`);
    if (expected === "half-open") t.ok(probing.send().attempt, `another probe: ${name}`);
  }
});

t.test("gRPC calls are judged by their own status; a probe that streams by its first message", async (t) => {
  const grpc = ["content-type", "application/grpc"];
  const { breaker, send } = guarded();
  for (const status of [0, 5, 8, 14, 2]) {
    const { attempt } = send(grpc);
    // The endpoint layer, inside of this one, notes the status.
    if (attempt !== undefined) attempt.request.grpcStatus = status;
    attempt?.respond(200, ["grpc-status", `${status}`]);
  }
  t.match(breaker.describe(), { requests: 5, failures: 2 });

  for (const [message, status, expected] of [
    [true, 0, "closed"],
    [false, 14, "open"],
    [false, 0, "closed"],
  ] as const) {
    const probing = guarded({ halfOpenRequests: 1 });
    probing.answered(...bad);
    probing.clock.advance(5000);
    const { attempt, reply } = probing.send(grpc);
    attempt?.head(200, [], new BufferedBody(Buffer.from(message ? "hello" : "")));
    t.equal(probing.breaker.describe().state, "half-open", "a head is no verdict");
    if (message) {
      reply.body?.attach({ write: () => true, end() {}, fail() {} });
      t.equal(probing.breaker.describe().state, "closed");
    } else {
      if (attempt !== undefined) attempt.request.grpcStatus = status;
      attempt?.end();
    }
    t.equal(probing.breaker.describe().state, expected);
  }
});

t.test("slow requests open it, slow probes open it again", async (t) => {
  const { clock, events, send, slowCalls } = guarded({ windowMs: 60_000 });
  const slowly = (): void => {
    const { attempt } = send();
    clock.advance(1000);
    attempt?.respond(200);
  };
  for (let i = 0; i < 20; i++) slowly();
  t.equal(
    events.at(-1),
    "closed -> open: slow-calls 5000 20 of 20 requests took 1s or longer within 1m, slowCalls.ratio=0.5",
  );
  clock.advance(5000);
  for (let i = 0; i < 3; i++) slowly();
  t.equal(events.at(-1), "half-open -> open: probes-slow 10000 3 of 3 probes took 1s or longer");
  t.equal(slowCalls.value, 23);
});

t.test("another configuration keeps the state; without one it closes", async (t) => {
  const { clock, breaker, answered, events } = guarded();
  answered(...bad);
  clock.advance(1000);
  breaker.configure({ ...config, windowMs: 5000, halfOpenRequests: 1 }, "TrafficPolicy/default/other");
  t.match(breaker.describe(), { state: "open", remainingMs: 4000, sinceMs: 1000 });
  t.match(breaker.refusal(clock.monotonicMs()).detail, /source=TrafficPolicy\/default\/other$/);
  breaker.configure(undefined, "default");
  t.equal(events.at(-1), "open -> closed: operator 0");
  t.ok(answered(...bad, ...bad).every(Boolean), "and stays closed");
});

t.test("held by an operator: open, closed, and with nothing configured", async (t) => {
  for (const change of [{}, null]) {
    const { clock, breaker, send, answered, events } = guarded(change);
    breaker.hold("open", 60_000, 0);
    t.match(send().reply.error, {
      code: "circuit_open",
      detail: "service api.default: held open by an operator for another 60.0s",
    });
    t.match(breaker.describe(), { state: "open", reason: "operator", remainingMs: 60_000, share: 0 });
    clock.advance(60_000);
    breaker.release(60_000);
    t.same(events, ["closed -> open: operator 60000", "open -> closed: operator 0"]);
    const through = answered(...Array.from({ length: 100 }, () => 200)).filter(Boolean).length;
    t.equal(through, change === null ? 100 : 10, "what was held open comes back little by little");
    breaker.reset(60_000);
    t.ok(answered(...Array.from({ length: 20 }, () => 200)).every(Boolean), "unless it is reset");

    breaker.hold("closed", 120_000, 60_000);
    t.ok(answered(...bad, ...bad).every(Boolean), "held closed, nothing opens it");
    breaker.release(120_000);
    t.equal(breaker.describe().requests, 0, "and what happened meanwhile is forgotten");
  }
  const { clock, breaker, send, answered } = guarded({ halfOpenRequests: 1 });
  answered(...bad);
  clock.advance(5000);
  const probe = send();
  breaker.hold("closed", 10_000, 5000);
  probe.attempt?.respond(500);
  t.equal(breaker.describe().state, "closed", "a probe of before does not open it");
});

t.test("never more probes at once than allowed; always leaves open; every probe is released", async (t) => {
  const event = fc.record({
    action: fc.constantFrom("send", "send", "send", "200", "500", "head", "gone", "wait", "hold", "release"),
    pick: fc.nat(30),
    waitMs: fc.constantFrom(1, 300, 1000, 5000, 60_000),
  });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom(1, 5, 20),
      fc.constantFrom(0, 10_000),
      fc.array(event, { maxLength: 300 }),
      (halfOpenRequests, minRequests, rampMs, events) => {
        const { clock, breaker, send } = guarded({ halfOpenRequests, minRequests, rampMs });
        const running: { readonly sent: ReturnType<typeof send>; readonly isProbe: boolean }[] = [];
        const finish = (index: number, status: number): void => {
          const [one] = running.splice(index % running.length, 1);
          const { attempt } = one?.sent ?? {};
          if (status === 0) one?.sent.call.cancel(new ProxyError("client_gone", "test"));
          else if (one?.sent.reply.status !== 0) attempt?.end();
          else attempt?.respond(status);
        };
        for (const { action, pick, waitMs } of events) {
          if (action === "send") {
            const sent = send();
            const isProbe = breaker.describe().state === "half-open";
            if (sent.attempt !== undefined) running.push({ sent, isProbe });
            else if (sent.reply.error?.code !== "circuit_open") return false;
          } else if (action === "wait") clock.advance(waitMs);
          else if (action === "hold")
            breaker.hold(pick % 2 === 0 ? "open" : "closed", clock.monotonicMs() + 1000, clock.monotonicMs());
          else if (action === "release") breaker.release(clock.monotonicMs());
          else if (running.length > 0) {
            const chosen = running[pick % running.length];
            if (action === "head") {
              // From here on it is no probe any more: it has its verdict.
              if (chosen?.sent.reply.status === 0) chosen.sent.attempt?.head(200);
              if (chosen !== undefined) running[pick % running.length] = { ...chosen, isProbe: false };
            } else finish(pick, action === "gone" ? 0 : Number(action));
          }
          if (running.filter(({ isProbe }) => isProbe).length > halfOpenRequests) return false;
        }
        while (running.length > 0) finish(0, 0);
        breaker.release(clock.monotonicMs());
        // Whatever happened: with nothing under way and time passed, good answers close it for good.
        for (let i = 0; i < halfOpenRequests; i++) {
          if (i === 0) clock.advance(config.maxOpenMs);
          send().attempt?.respond(200);
        }
        clock.advance(10_000);
        return breaker.describe().state === "closed" && send().attempt !== undefined;
      },
    ),
    { numRuns: 300 },
  );
  t.pass("property held");
});
