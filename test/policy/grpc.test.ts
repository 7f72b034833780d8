/** gRPC calls through the layers: deadlines kept and lowered, outcomes judged, failures retried. */
import t from "tap";
import { clusterDefaults, retryDefaults } from "../../src/config/cluster-defaults.js";
import type { RetryConfig } from "../../src/config/retry-config.js";
import type { ProxyError } from "../../src/errors/proxy-error.js";
import { ClusterEndpoint } from "../../src/policy/cluster-endpoint.js";
import { EjectionBudget } from "../../src/policy/ejection-budget.js";
import { EndpointBreaker } from "../../src/policy/endpoint-breaker.js";
import { endpointLayer } from "../../src/policy/endpoint-layer.js";
import { deadline } from "../../src/policy/deadline.js";
import { grpcUpstream } from "../../src/policy/grpc-upstream.js";
import { parseRetryPushbackMs } from "../../src/policy/retry-after.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { isRetryable, retryRules } from "../../src/policy/retry-decision.js";
import { retry } from "../../src/policy/retry.js";
import { attemptTimeout, routeTimeout } from "../../src/policy/timeouts.js";
import { stack, type Layer } from "../../src/stack/service.js";
import { Counter } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { getHeader } from "../../src/traffic/headers.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedSink, ScriptedSource } from "../support/scripted-body.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import {
  RecordedReply,
  ScriptedService,
  scriptedRequest,
  type ScriptedAttempt,
  type Step,
} from "../support/scripted-service.js";

const grpc = ["content-type", "application/grpc+proto"];
const source = "GRPCRoute/default/api";
const retryConfig: RetryConfig = { ...retryDefaults, attempts: 2 };

function call(headers: readonly string[] = [], startMs = 0) {
  return scriptedRequest({ method: "POST", headers: [...grpc, ...headers], startMs });
}

function retrying(clock: FakeClock, ...[config]: [config?: RetryConfig | undefined]): Layer {
  const counter = (): Counter => new Counter();
  const meters = { retries: counter(), successes: counter(), overflows: counter(), exhausted: counter() };
  const budget = new RetryBudget(clusterDefaults.retryBudget);
  return retry({ config, budget, wheel: new TimerWheel(clock), clock, meters });
}

function keptDeadline(wheel: TimerWheel): Layer {
  return deadline({ wheel, graceMs: 0, expired: new Counter() });
}

function timeoutAt(attempt: ScriptedAttempt): string | undefined {
  return getHeader(attempt.request.head.headers, "grpc-timeout");
}

t.test("the caller's deadline ends the call, and its text says whose it was", async (t) => {
  const clock = new FakeClock();
  const upstream = new ScriptedService();
  const service = keptDeadline(new TimerWheel(clock))(upstream);
  const reply = new RecordedReply();
  service.call(call(["grpc-timeout", "250m"]), reply);
  clock.advance(249);
  t.equal(reply.outcome, "pending", "never early");
  clock.advance(12);
  t.equal(reply.outcome, "route_timeout");
  t.equal(reply.error?.detail, "timer=grpc-timeout, value=250ms, source=caller");
  t.equal(reply.error?.row.grpcStatus, 4);
  t.equal(upstream.last.cancelledWith, reply.error, "the upstream is let go");

  const streaming = new RecordedReply();
  service.call(call(["grpc-timeout", "1S"], clock.monotonicMs()), streaming);
  upstream.last.head(200, grpc);
  clock.advance(1011);
  t.equal(streaming.outcome, "200 route_timeout", "a stream is cut at its deadline");

  const answered = new RecordedReply();
  service.call(call(["grpc-timeout", "1S"], clock.monotonicMs()), answered);
  upstream.last.respond(200);
  t.equal(clock.pendingTimers > 0, true);
  clock.advance(2000);
  t.equal(answered.outcome, "200");
  t.equal(clock.pendingTimers, 0);
});

t.test("an expired or unreadable deadline is answered at once; without one nothing is timed", async (t) => {
  const clock = new FakeClock();
  const upstream = new ScriptedService();
  const service = keptDeadline(new TimerWheel(clock))(upstream);
  for (const [value, code] of [
    ["0m", "route_timeout"],
    ["soon", "malformed_request"],
    ["123456789n", "malformed_request"],
    ["", "malformed_request"],
  ] as const) {
    const reply = new RecordedReply();
    service.call(call(["grpc-timeout", value]), reply);
    t.equal(reply.outcome, code, value);
  }
  t.equal(upstream.attempts.length, 0);
  const plain = scriptedRequest({ headers: ["content-type", "text/plain", "grpc-timeout", "1n"] });
  for (const request of [call(), plain]) {
    service.call(request, new RecordedReply());
    t.equal(request.deadlineMs, Infinity);
    t.equal(clock.pendingTimers, 0);
  }
  t.equal(timeoutAt(upstream.last), "1n", "what is not gRPC is not touched");
});

t.test("each attempt is told the least of what is left: caller, route, attempt", async (t) => {
  const cases: [name: string, grpcTimeout: string, routeMs: number, attemptMs: number, told: string[]][] = [
    ["caller", "1S", 0, 0, ["990000u", "600000u"]],
    ["route is shorter", "1H", 2000, 0, ["1990000u", "1600000u"]],
    ["caller is shorter", "1S", 2000, 0, ["990000u", "600000u"]],
    ["attempt is shorter", "1S", 2000, 500, ["500000u", "500000u"]],
    ["attempt is longer than the rest", "1S", 0, 800, ["800000u", "600000u"]],
    ["only the mesh's timers", "", 2000, 800, ["800000u", "800000u"]],
    ["none", "", 0, 0, ["none", "none"]],
  ];
  for (const [name, grpcTimeout, routeMs, attemptMs, told] of cases) {
    for (const side of ["outbound", "inbound"]) {
      const clock = new FakeClock();
      clock.randoms = [0];
      const wheel = new TimerWheel(clock);
      const { endpoint, transport, estimator } = testEndpoint(clock);
      const last =
        side === "inbound"
          ? grpcUpstream(clock)(transport)
          : {
              call: (...[request, reply]: Parameters<ScriptedTransport["call"]>) =>
                endpointLayer(clock, estimator)(endpoint, request, reply, clock.monotonicMs()),
            };
      const service = stack(
        [
          keptDeadline(wheel),
          ...(routeMs > 0 ? [routeTimeout({ timeoutMs: routeMs, source, wheel })] : []),
          retrying(clock, retryConfig),
          ...(attemptMs > 0 ? [attemptTimeout({ timeoutMs: attemptMs, source, wheel })] : []),
        ],
        last,
      );
      clock.advance(10);
      const reply = new RecordedReply();
      service.call(call(grpcTimeout === "" ? [] : ["Grpc-Timeout", grpcTimeout]), reply);
      const seen = [timeoutAt(transport.last) ?? "none"];
      clock.advance(390);
      transport.last.fail("connect_failed");
      clock.advance(10);
      seen.push(timeoutAt(transport.last) ?? "none");
      t.equal(transport.attempts.length, 2);
      t.same(seen, told, `${name}, ${side}`);
    }
  }
});

t.test("no retry is begun that the caller's deadline would cut off", async (t) => {
  const clock = new FakeClock();
  clock.randoms = [0.99];
  const upstream = new ScriptedService();
  const service = stack([keptDeadline(new TimerWheel(clock)), retrying(clock, retryConfig)], upstream);
  const reply = new RecordedReply();
  service.call(call(["grpc-timeout", "100m"]), reply);
  clock.advance(90);
  upstream.last.fail("connect_failed");
  t.equal(reply.outcome, "connect_failed");
});

t.test("retry of trailers-only replies: by status, whoever made them", async (t) => {
  const rules = retryRules(retryConfig);
  const cases: [grpcStatus: number, madeBy: ProxyError["code"] | undefined, string][] = [
    [14, undefined, "POST"],
    [14, undefined, "GET"],
    [13, undefined, ""],
    [1, undefined, ""],
    [14, "draining", "POST"],
    [14, "connect_failed", "POST"],
    [14, "upstream_reset", "PUT"],
    [14, "upstream_reset", ""],
  ];
  for (const [grpcStatus, madeBy, method] of cases) {
    const name = `${grpcStatus} ${madeBy ?? ""} ${method}`;
    t.equal(
      isRetryable(rules, { grpcStatus, madeBy }, { method: method || "POST", hasKey: true }),
      method !== "",
      name,
    );
  }
  const post = { method: "POST", hasKey: false };
  t.notOk(isRetryable(retryRules(undefined), { grpcStatus: 14, madeBy: undefined }, post));
  const pushback = [undefined, "0", "25", "-1", "", "soon", "1.5"].map(parseRetryPushbackMs);
  t.same(pushback, [undefined, 0, 25, Infinity, Infinity, Infinity, Infinity]);
});

t.test("a gRPC call is retried on what its head says, never on its trailers", async (t) => {
  const status = (value: number, ...more: string[]): Step => {
    const headers = [...grpc, "grpc-status", String(value), ...more];
    return (attempt) => attempt.respond(200, headers);
  };
  const ok: Step = (attempt) => attempt.respond(200, [...grpc, "grpc-status", "0"]);
  const cases: [name: string, first: Step, attempts: number, config?: RetryConfig | undefined][] = [
    ["unavailable", status(14), 2],
    ["not configured", status(14), 1, undefined],
    ["another status", status(13), 1],
    ["configured status", status(8), 2, { ...retryConfig, grpcCodes: [8] }],
    ["made by a sidecar that may have passed it on", status(14, "x-remora-error", "upstream_reset"), 1],
    ["made by a sidecar that did not", status(14, "x-remora-error", "draining"), 2],
    ["what that header says is no code", status(14, "x-remora-error", "toString"), 2],
    ["pushback", status(14, "grpc-retry-pushback-ms", "100"), 2],
    ["pushback: never", status(14, "grpc-retry-pushback-ms", "-1"), 1],
    ["pushback: longer than callers should wait", status(14, "grpc-retry-pushback-ms", "300001"), 1],
    ["an HTTP error is a POST's", (attempt) => attempt.respond(503), 1],
    ["refused before it was sent", (attempt) => attempt.fail("connect_failed"), 2],
    ["may have been worked on", (attempt) => attempt.fail("upstream_reset"), 1],
  ];
  for (const [name, first, attempts, ...config] of cases) {
    const clock = new FakeClock();
    const upstream = new ScriptedService(first, ok);
    const reply = new RecordedReply();
    retrying(clock, config.length === 0 ? retryConfig : config[0])(upstream).call(call(), reply);
    clock.advance(name === "pushback" ? 99 : 1000);
    if (name === "pushback") {
      t.equal(upstream.attempts.length, 1, "not before the server asks for it");
      clock.advance(11);
    }
    t.equal(upstream.attempts.length, attempts, name);
    t.equal(reply.ends, 1, name);
  }
  const clock = new FakeClock();
  const upstream = new ScriptedService();
  const reply = new RecordedReply();
  const body = new ScriptedSource(-1, ["grpc-status", "14"]);
  retrying(clock, retryConfig)(upstream).call(call(), reply);
  upstream.last.head(200, grpc, body);
  t.equal(reply.body, body, "committed");

  const plain = new ScriptedService(status(14));
  retrying(clock, retryConfig)(plain).call(scriptedRequest(), new RecordedReply());
  clock.advance(1000);
  t.equal(plain.attempts.length, 1, "grpc-status means nothing in a reply to a GET of text");
});

function testEndpoint(clock: FakeClock) {
  const log: string[] = [];
  const estimator = {
    observe: () => void log.push("latency"),
    observeAtLeast: () => void log.push("at least"),
    penalize: (_: unknown, penaltyMs: number) => void log.push(`penalty ${penaltyMs}`),
  };
  const transport = new ScriptedTransport();
  const breaker: EndpointBreaker = new EndpointBreaker({
    config: clusterDefaults.breaker,
    budget: new EjectionBudget(100, () => [endpoint, { gate: { isEjected: false } }]),
    clock,
    onEvent() {},
  });
  const endpoint: ClusterEndpoint = new ClusterEndpoint("a", endpointConfig(1), breaker, transport);
  return { endpoint, transport, breaker, estimator, log };
}

/** Plays: a number is grpc-status in the head, `Nt` in the trailers, "m" a message, else an error's code or "end". */
function play(attempt: ScriptedAttempt, reply: RecordedReply, steps: readonly (string | number)[]): void {
  let body: ScriptedSource | undefined;
  for (const step of steps) {
    if (typeof step === "number") attempt.head(200, [...grpc, "grpc-status", String(step)]);
    else if (step.startsWith("http")) attempt.head(Number(step.slice(4)));
    else if (/^\d*t/.test(step)) {
      const [status = "", ...more] = step.split("t ");
      const trailers = /^\d/.test(status) ? ["grpc-status", String(parseInt(status)), ...more] : null;
      body = new ScriptedSource(-1, trailers);
      attempt.head(200, grpc, body);
      reply.body?.attach(new ScriptedSink());
    } else if (step === "m") body?.arrive(Buffer.from("message"));
    else if (step === "end") {
      body?.arrive("end");
      attempt.end();
    } else attempt.fail(step as ProxyError["code"]);
  }
}

t.test("endpoint: a gRPC call is judged by its status, with the head or with the trailers", async (t) => {
  const cases: [
    name: string,
    steps: (string | number)[],
    verdict: string,
    measured: string,
    status: number,
  ][] = [
    ["trailers-only OK", [0, "end"], "+", "latency", 0],
    ["trailers-only NOT_FOUND", [5, "end"], "+", "latency", 5],
    ["trailers-only UNAVAILABLE", [14, "end"], "-", "at least", 14],
    ["trailers-only RESOURCE_EXHAUSTED", [8, "end"], "+", "latency,penalty 5000", 8],
    ["trailers OK", ["0t", "m", "end"], "+", "latency", 0],
    ["trailers INTERNAL", ["13t", "m", "end"], "-", "latency", 13],
    ["trailers RESOURCE_EXHAUSTED", ["8t", "end"], "+", "latency,penalty 5000", 8],
    ["no trailers", ["t", "m", "end"], "+", "latency", -1],
    ["a status that is none", ["99t", "end"], "+", "latency", -1],
    ["HTTP 503 from something on the way", ["http503", "end"], "-", "at least", -1],
    ["HTTP 404 from something on the way", ["http404", "end"], "+", "latency", -1],
    ["client gone", ["0t", "client_gone"], "", "latency", -1],
    ["cut short", ["0t", "m", "upstream_truncated"], "-", "latency", -1],
    ["deadline while the endpoint is silent", ["route_timeout"], "-", "at least", -1],
  ];
  for (const isProbe of [false, true]) {
    for (const [name, steps, verdict, measured, status] of cases) {
      const clock = new FakeClock();
      const { endpoint, transport, breaker, estimator, log } = testEndpoint(clock);
      if (isProbe) {
        for (let i = 0; i < 7; i++) breaker.record("failure", false, 0);
        clock.advance(1000);
      }
      const request = call();
      const reply = new RecordedReply();
      endpointLayer(clock, estimator)(endpoint, request, reply, clock.monotonicMs());
      if (isProbe) t.notOk(breaker.isOpen(clock.monotonicMs()), "the probe is under way");
      play(transport.last, reply, steps);
      t.equal(endpoint.inflight, 0, name);
      t.equal(log.join(), measured, name);
      t.equal(request.grpcStatus, status, name);
      const { state, requestsInWindow, failuresInWindow } = breaker.describe();
      if (!isProbe) {
        t.same([requestsInWindow, failuresInWindow], [verdict.length, verdict === "-" ? 1 : 0], name);
        continue;
      }
      // A message has closed the breaker before the trailers came.
      const expected =
        verdict === "" ? "half-open" : verdict === "+" || steps.includes("m") ? "closed" : "open";
      t.equal(state, expected, `probe: ${name}`);
      t.equal(breaker.isOpen(clock.monotonicMs()), expected !== "open", `probe released: ${name}`);
    }
  }
});

t.test("endpoint: a probe that is a long stream does not keep the endpoint shut", async (t) => {
  const clock = new FakeClock();
  const { endpoint, transport, breaker, estimator } = testEndpoint(clock);
  for (let i = 0; i < 7; i++) breaker.record("failure", false, 0);
  clock.advance(1000);
  const reply = new RecordedReply();
  endpointLayer(clock, estimator)(endpoint, call(), reply, clock.monotonicMs());
  const body = new ScriptedSource(-1, ["grpc-status", "14"]);
  transport.last.head(200, grpc, body);
  t.notOk(breaker.isOpen(clock.monotonicMs()), "a head alone proves little");
  reply.body?.attach(new ScriptedSink());
  body.arrive(Buffer.from("message"));
  t.ok(breaker.isOpen(clock.monotonicMs()));
  body.arrive("end");
  transport.last.end();
  t.same([breaker.describe().state, breaker.describe().failuresInWindow], ["closed", 1]);
});

t.test("endpoint: RESOURCE_EXHAUSTED says how long it wants to be left alone", async (t) => {
  const cases: [string[], number][] = [
    [["grpc-retry-pushback-ms", "700"], 700],
    [["grpc-retry-pushback-ms", "-1"], 5000],
    [["grpc-retry-pushback-ms", "-1", "retry-after", "3"], 3000],
    [["retry-after", "2"], 2000],
    [["grpc-retry-pushback-ms", "999999999"], 300_000],
  ];
  for (const [fields, expected] of cases) {
    const clock = new FakeClock();
    const { endpoint, transport, estimator, log } = testEndpoint(clock);
    endpointLayer(clock, estimator)(endpoint, call(), new RecordedReply(), 0);
    transport.last.respond(200, [...grpc, "grpc-status", "8", ...fields]);
    t.equal(log.at(-1), `penalty ${expected}`, fields.join(" "));
  }
});

t.test(
  "an upstream without endpoint layer: the status is noted all the same, attempt by attempt",
  async (t) => {
    const clock = new FakeClock();
    const upstream = new ScriptedService();
    const service = grpcUpstream(clock)(upstream);
    const cases: [steps: (string | number)[], status: number][] = [
      [[7, "end"], 7],
      [["0t", "m", "end"], 0],
      [["t", "end"], -1],
      [["0t", "upstream_truncated"], -1],
      [["connect_failed"], -1],
    ];
    for (const [steps, status] of cases) {
      const request = call();
      request.grpcStatus = 14;
      const reply = new RecordedReply();
      service.call(request, reply);
      play(upstream.last, reply, steps);
      t.equal(request.grpcStatus, status, steps.join(" "));
      t.equal(reply.ends, 1);
    }
  },
);

t.test(
  "an application of HTTP/1.1 that takes a call for an ordinary POST: the caller learns why",
  async (t) => {
    const page = ["content-type", "text/html"];
    for (const [status, headers, outcome] of [
      [200, page, "upstream_protocol_error"],
      [200, [], "upstream_protocol_error"],
      [200, grpc, "200"],
      [404, page, "404"],
    ] as const) {
      const upstream = new ScriptedService();
      const reply = new RecordedReply();
      grpcUpstream(new FakeClock())(upstream).call(call(), reply);
      upstream.last.head(status, [...headers]);
      if (outcome !== "upstream_protocol_error") upstream.last.end();
      t.equal(reply.outcome, outcome, `${status} ${headers.join(" ")}`);
      if (outcome === "upstream_protocol_error")
        t.match(reply.error?.detail, /start it with --protocol grpc/);
    }
  },
);
