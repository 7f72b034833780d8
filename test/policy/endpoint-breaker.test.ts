import fc from "fast-check";
import t from "tap";
import { isPanic } from "../../src/balance/panic.js";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { BreakerConfig } from "../../src/config/breaker-config.js";
import type { MtlsMode } from "../../src/config/snapshot.js";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ejectionMs, tripReason, type AttemptVerdict } from "../../src/policy/breaker-state.js";
import { ClusterEndpoint } from "../../src/policy/cluster-endpoint.js";
import { EjectionBudget, maxEjections } from "../../src/policy/ejection-budget.js";
import { EndpointBreaker, type BreakerEvent } from "../../src/policy/endpoint-breaker.js";
import { endpointLayer } from "../../src/policy/endpoint-layer.js";
import { pickEndpoint } from "../../src/policy/pick-endpoint.js";
import { FakeClock } from "../support/fake-clock.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import { RecordedReply, scriptedRequest } from "../support/scripted-service.js";

const config: BreakerConfig = { ...clusterDefaults.breaker, jitterRatio: 0 };

/** A cluster of `count` endpoints with real breakers under one budget. */
function cluster(count: number, breaker: BreakerConfig = config) {
  const clock = new FakeClock();
  const events: string[] = [];
  const endpoints: ClusterEndpoint[] = [];
  const budget = new EjectionBudget(breaker.maxEjectionPercent, () => endpoints);
  for (let i = 0; i < count; i++) {
    const onEvent = (event: BreakerEvent): void =>
      void events.push(`${i} ${event.state} ${event.reason ?? ""} ${event.forMs}`.replace("  ", " "));
    const gate = new EndpointBreaker({ config: breaker, budget, clock, onEvent });
    endpoints.push(new ClusterEndpoint(String(i), endpointConfig(i), gate, new ScriptedTransport()));
  }
  const breakers = endpoints.map((endpoint) => endpoint.gate);
  return { clock, events, endpoints, breakers, breaker: breakers[0] as EndpointBreaker };
}

const verdictOf: Readonly<Record<string, AttemptVerdict>> = {
  "+": "success",
  "-": "failure",
  g: "gateway",
  n: "none",
};

function record(breaker: EndpointBreaker, nowMs: number, verdicts: string): void {
  for (const verdict of verdicts) breaker.record(verdictOf[verdict] as AttemptVerdict, false, nowMs);
}

t.test("trips by failures in a row, by success ratio or by slow calls: table", async (t) => {
  const slowCalls = { thresholdMs: 1000, ratio: 0.5 };
  const cases: [Partial<BreakerConfig>, number, number, number, string | undefined, slow?: number][] = [
    [{}, 6, 6, 0, undefined],
    [{}, 7, 7, 7, "consecutive-failures"],
    [{}, 7, 100, 7, "consecutive-failures"],
    [{ consecutiveFailures: 0 }, 100, 100, 20, undefined],
    [{}, 1, 4, 4, undefined],
    [{}, 1, 5, 2, "success-ratio"],
    [{}, 1, 5, 1, undefined],
    [{}, 1, 100, 20, undefined],
    [{}, 1, 100, 21, "success-ratio"],
    [{ minSuccessRatio: 0 }, 1, 100, 100, undefined],
    [{}, 0, 100, 0, undefined, 100],
    [{ slowCalls }, 0, 4, 0, undefined, 4],
    [{ slowCalls }, 0, 5, 0, "slow-calls", 3],
    [{ slowCalls }, 0, 6, 0, "slow-calls", 3],
    [{ slowCalls }, 0, 7, 0, undefined, 3],
    [{ slowCalls }, 1, 10, 3, "success-ratio", 9],
    [{ slowCalls: { ...slowCalls, ratio: 1 } }, 0, 10, 0, undefined, 9],
    [{ slowCalls: { ...slowCalls, ratio: 1 } }, 0, 10, 0, "slow-calls", 10],
  ];
  for (const [change, consecutive, requests, failures, expected, slow = 0] of cases)
    t.equal(tripReason({ ...config, ...change }, consecutive, requests, failures, slow), expected);
});

t.test("kinds of failures in a row, each with a number of its own", async (t) => {
  const off = { ...config, consecutiveFailures: 0, minSuccessRatio: 0 };
  const gateway = { ...off, consecutiveGatewayErrors: 3 };
  const local = { ...off, consecutiveLocalOriginFailures: 3 };
  const table = [
    [off, "gngngngngn----------", undefined],
    [gateway, "ggg", "gateway-errors"],
    [gateway, "gng", "gateway-errors"],
    [gateway, "nnn", "gateway-errors"],
    [gateway, "gg+g", undefined],
    [gateway, "gg-gg", undefined],
    [gateway, "----------", undefined],
    [local, "nnn", "local-origin-failures"],
    [local, "gggggg", undefined],
    [local, "nngn", undefined],
    [local, "nn-n", undefined],
    [local, "nn+n", undefined],
    [{ ...gateway, consecutiveLocalOriginFailures: 2 }, "nn", "local-origin-failures"],
    [{ ...gateway, consecutiveFailures: 3 }, "-gg", "consecutive-failures"],
  ] as const;
  for (const [breakerConfig, verdicts, reason] of table) {
    const { breaker } = cluster(3, breakerConfig);
    record(breaker, 0, verdicts);
    t.equal(breaker.describe().reason, reason, `${verdicts} ${reason ?? ""}`);
  }
});

t.test("ejection doubles up to its maximum, within the jitter", async (t) => {
  t.same(
    [0, 1, 2, 5, 6, 50].map((n) => ejectionMs(config, n, 0.5)),
    [1000, 2000, 4000, 32_000, 60_000, 60_000],
  );
  const jittered = { ...config, jitterRatio: 0.5 };
  t.equal(ejectionMs(jittered, 0, 0), 500);
  t.equal(ejectionMs(jittered, 0, 0.999), 1499);
  t.equal(ejectionMs(jittered, 9, 0.999), 60_000, "never above the maximum");
});

t.test("max ejections: whole numbers for small clusters", async (t) => {
  const cases: [number, number, number][] = [
    [0, 50, 0],
    [1, 50, 0],
    [1, 100, 0],
    [2, 50, 1],
    [3, 50, 1],
    [4, 50, 2],
    [10, 50, 5],
    [10, 100, 9],
    [2, 10, 1],
    [9, 10, 1],
    [3, 0, 0],
  ];
  for (const [total, percent, expected] of cases)
    t.equal(maxEjections(total, percent), expected, `${total} at ${percent} %`);
});

t.test("every endpoint fails: 1, 2, 3 and 10 endpoints lose 0, 1, 1 and 5", async (t) => {
  for (const [count, expected] of [
    [1, 0],
    [2, 1],
    [3, 1],
    [10, 5],
  ] as const) {
    const { breakers } = cluster(count);
    for (let round = 0; round < 10; round++) for (const breaker of breakers) record(breaker, 0, "-");
    t.equal(breakers.filter((breaker) => breaker.isEjected).length, expected, `${count} endpoints`);
  }
});

t.test(
  "slow attempts: a share of them ejects, one that was given up on counts, a slow probe fails",
  async (t) => {
    const slow = { ...config, slowCalls: { thresholdMs: 1000, ratio: 0.5 } };
    const { breaker, events } = cluster(2, slow);
    const attempts = (...latencies: number[]): void =>
      latencies.forEach((latencyMs) => breaker.record("success", false, 0, latencyMs));
    attempts(5, 999, 1000, 2000);
    t.notOk(breaker.isEjected, "four are too few");
    breaker.abandon(false, 0, 999);
    t.match(
      breaker.describe(),
      { requestsInWindow: 4, slowInWindow: 2 },
      "a client that goes early says nothing",
    );
    breaker.abandon(false, 0, 1000);
    t.match(events, ["0 open slow-calls 1000"]);
    t.ok(breaker.admit(1000));
    breaker.record("success", true, 2500, 1500);
    t.equal(events.at(-1), "0 open probe-slow 2000");
    t.ok(breaker.admit(4500));
    breaker.abandon(true, 4600, 100);
    t.ok(breaker.admit(4600), "released without a verdict");
    breaker.record("success", true, 4700, 100);
    t.match(breaker.describe(), { state: "closed", slowInWindow: 0 });
    const without = cluster(2);
    for (let i = 0; i < 100; i++) without.breaker.record("success", false, 0, 60_000);
    t.notOk(without.breaker.isEjected, "off unless configured");
  },
);

t.test("every endpoint fails, by each of the three signs: who stays, and what then is panic", async (t) => {
  const slowCalls = { thresholdMs: 1000, ratio: 0.5 };
  const ways: Record<string, (breaker: EndpointBreaker) => void> = {
    "in a row": (breaker) => record(breaker, 0, "-"),
    "by ratio": (breaker) => record(breaker, 0, "-+"),
    slowly: (breaker) => breaker.record("success", false, 0, 1000),
  };
  // maxEjectionPercent, endpoints -> ejected, panic at the default threshold.
  const cases: [percent: number, count: number, ejected: number, panic: boolean][] = [
    [50, 1, 0, false],
    [50, 2, 1, false],
    [50, 3, 1, false],
    [50, 10, 5, false],
    [10, 2, 1, false],
    [10, 3, 1, false],
    [10, 10, 1, false],
    [99, 1, 0, false],
    [99, 2, 1, false],
    [99, 3, 2, true],
    [99, 10, 9, true],
    [0, 10, 0, false],
  ];
  for (const [name, fail] of Object.entries(ways))
    for (const [maxEjectionPercent, count, ejected, panic] of cases) {
      const { breakers } = cluster(count, { ...config, slowCalls, maxEjectionPercent });
      for (let round = 0; round < 20; round++) breakers.forEach(fail);
      const open = breakers.filter((breaker) => breaker.isOpen(0)).length;
      const what = `${name}: ${count} endpoints at ${maxEjectionPercent} %`;
      t.equal(count - open, ejected, what);
      t.equal(isPanic(open, count, clusterDefaults.loadBalancer.panicThresholdPercent), panic, what);
    }
});

t.test("held closed it counts and does not open; lifted it begins anew", async (t) => {
  const { breaker, breakers, events } = cluster(2);
  breaker.isHeld = true;
  record(breaker, 0, "----------");
  t.same(events, []);
  breaker.isHeld = false;
  record(breaker, 0, "-");
  t.equal(events.length, 1);
  breaker.lift();
  t.match(breaker.describe(), { state: "closed", requestsInWindow: 0, consecutiveFailures: 0 });
  t.equal(events.at(-1), "0 closed operator 0");
  record(breaker, 0, "------");
  record(breakers[1] as EndpointBreaker, 0, "-");
  t.equal(events.length, 3, "five of six failed: the ratio alone is enough");
});

t.test("opens, lets a single probe through, closes on its success", async (t) => {
  const { clock, breaker, events } = cluster(2);
  record(breaker, 0, "+++++++++++++++++++++++++++++++");
  record(breaker, 0, "------");
  t.ok(breaker.isOpen(0), "six failures in a row are not seven");
  record(breaker, 0, "-");
  t.notOk(breaker.isOpen(999));
  t.match(breaker.describe(), { state: "open", ejections: 1, remainingMs: 1000 });
  record(breaker, 500, "+++"); // replies to older requests
  t.notOk(breaker.isOpen(500), "do not close it");
  clock.advance(1000);
  t.ok(breaker.isOpen(1000), "the ejection has run out");
  t.ok(breaker.admit(1000), "the first attempt is the probe");
  t.notOk(breaker.isOpen(1000), "no second one meanwhile");
  t.notOk(breaker.admit(1000));
  breaker.dropProbe();
  t.ok(breaker.isOpen(1001), "a probe without a verdict makes room for another");
  t.ok(breaker.admit(1001));
  breaker.record("success", true, 1002);
  t.match(breaker.describe(), { state: "closed", requestsInWindow: 0, consecutiveFailures: 0 });
  t.same(events, ["0 open consecutive-failures 1000", "0 half-open 0", "0 closed 0"]);
});

t.test("an ejection that is over shows as half-open, also where nobody sends a request", async (t) => {
  const { clock, breaker, events } = cluster(2);
  record(breaker, 0, "-------");
  clock.advance(999);
  t.match(breaker.describe(), { state: "open", remainingMs: 1 });
  clock.advance(1);
  t.match(breaker.describe(), { state: "half-open", remainingMs: 0, reason: undefined });
  clock.advance(60_000);
  t.match(breaker.describe(), { state: "half-open", sinceMs: 60_000 });
  t.same(events.slice(1), ["0 half-open 0"], "told once");
  t.ok(breaker.admit(clock.monotonicMs()), "the next request is its probe");
});

t.test("a failed probe opens it for longer; success resets that", async (t) => {
  const { breaker, events } = cluster(2);
  record(breaker, 0, "-------");
  let nowMs = 0;
  for (const lengthMs of [1000, 2000, 4000]) {
    nowMs += lengthMs - 1;
    t.notOk(breaker.isOpen(nowMs));
    nowMs += 1;
    t.ok(breaker.admit(nowMs));
    breaker.record("failure", true, nowMs);
  }
  t.equal(events.at(-1), "0 open probe-failed 8000");
  t.ok(breaker.admit(nowMs + 8000));
  breaker.record("success", true, nowMs + 8000);
  record(breaker, nowMs + 8000, "-------");
  t.equal(events.at(-1), "0 open success-ratio 1000", "five of five are enough for the ratio");
});

t.test("success ratio is judged over the window only", async (t) => {
  const { breaker } = cluster(2);
  record(breaker, 0, "--+--+");
  t.ok(breaker.isEjected);
  const spread = cluster(2);
  record(spread.breaker, 0, "--+");
  record(spread.breaker, 11_000, "-+");
  t.notOk(spread.breaker.isEjected, "the old failures are forgotten");
  record(spread.breaker, 11_000, "--");
  t.notOk(spread.breaker.isEjected, "four requests are too few");
  record(spread.breaker, 11_000, "+-");
  t.ok(spread.breaker.isEjected);
});

t.test("state machine: at most one probe, never more ejected than allowed, always a way back", async (t) => {
  const step = fc.record({
    endpoint: fc.nat(4),
    action: fc.constantFrom("request", "success", "failure", "drop", "wait"),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 200 }), (count, steps) => {
      const { breakers } = cluster(count, { ...config, consecutiveFailures: 2 });
      const running = breakers.map((): boolean[] => []);
      let nowMs = 0;
      for (const { endpoint, action } of steps) {
        const breaker = breakers[endpoint % count] as EndpointBreaker;
        const attempts = running[endpoint % count] as boolean[];
        if (action === "wait") nowMs += 700;
        else if (action === "request") attempts.push(breaker.admit(nowMs));
        else {
          const isProbe = attempts.shift();
          if (isProbe === undefined) continue;
          if (action !== "drop") breaker.record(action, isProbe, nowMs);
          else if (isProbe) breaker.dropProbe();
        }
        if (attempts.filter((isProbe) => isProbe).length > 1) return false;
        const ejected = breakers.filter((each) => each.isEjected).length;
        if (ejected > maxEjections(count, config.maxEjectionPercent)) return false;
      }
      // Whatever happened: once all attempts are over and time has passed, every gate opens again.
      running.forEach((attempts, i) => {
        for (const isProbe of attempts) if (isProbe) breakers[i]?.dropProbe();
      });
      return breakers.every((breaker) => breaker.isOpen(nowMs + 60_000));
    }),
    { numRuns: 500 },
  );
  t.pass("property held");
});

t.test("endpoint layer: counts, measures and judges every way an attempt can end", async (t) => {
  const cases: [name: string, steps: (string | number)[], verdict: string][] = [
    ["200", [200, "end"], "+"],
    ["404", [404, "end"], "+"],
    ["500", [500, "end"], "-"],
    ["503", [503, "end"], "-"],
    ["refused", ["connect_failed"], "-"],
    ["reset", ["upstream_reset"], "-"],
    ["timeout", ["attempt_timeout"], "-"],
    ["cut short", [200, "upstream_truncated"], "+-"],
    ["client gone", ["client_gone"], ""],
    ["client gone after the head", [200, "client_gone"], "+"],
    ["closed unread", ["upstream_unprocessed"], ""],
    ["pool full", ["concurrency_limit"], ""],
  ];
  for (const isProbe of [false, true]) {
    for (const [name, steps, verdict] of cases) {
      const { clock, endpoints, breaker } = cluster(2);
      const endpoint = endpoints[0] as ClusterEndpoint;
      if (isProbe) {
        record(breaker, 0, "-------");
        clock.advance(1000);
      }
      const log: string[] = [];
      const estimator = {
        observe: (_: unknown, latencyMs: number) => void log.push(`latency ${latencyMs}`),
        observeAtLeast: (_: unknown, latencyMs: number) => void log.push(`at least ${latencyMs}`),
        penalize: (_: unknown, penaltyMs: number) => void log.push(`penalty ${penaltyMs}`),
      };
      const reply = new RecordedReply();
      endpointLayer(clock, estimator)(endpoint, scriptedRequest(), reply, clock.monotonicMs());
      t.equal(endpoint.inflight, 1);
      if (isProbe) t.notOk(breaker.isOpen(clock.monotonicMs()), "the probe is under way");
      clock.advance(40);
      const attempt = (endpoint.transport as ScriptedTransport).last;
      for (const step of steps) {
        if (typeof step === "number") attempt.head(step);
        else if (step === "end") attempt.end();
        else attempt.fail(step as ErrorCode);
      }
      t.equal(endpoint.inflight, 0, name);
      t.equal(reply.ends, 1, name);
      t.equal(log[0], typeof steps[0] === "number" && steps[0] < 500 ? "latency 40" : "at least 40", name);
      const { state, requestsInWindow, failuresInWindow } = breaker.describe();
      if (!isProbe) {
        t.same([requestsInWindow, failuresInWindow], [verdict.length, verdict.split("-").length - 1], name);
      } else {
        const expected = verdict === "" ? "half-open" : verdict.startsWith("+") ? "closed" : "open";
        t.equal(state, expected, `probe: ${name}`);
        if (verdict === "") t.ok(breaker.isOpen(clock.monotonicMs()), `probe released: ${name}`);
      }
    }
  }
});

t.test("endpoint layer: tells the kinds of failures apart", async (t) => {
  const table: [change: Partial<BreakerConfig>, step: number | ErrorCode, reason: string | undefined][] = [
    [{ consecutiveGatewayErrors: 1 }, 502, "gateway-errors"],
    [{ consecutiveGatewayErrors: 1 }, 504, "gateway-errors"],
    [{ consecutiveGatewayErrors: 1 }, 500, undefined],
    [{ consecutiveGatewayErrors: 1 }, 505, undefined],
    [{ consecutiveGatewayErrors: 1 }, "attempt_timeout", "gateway-errors"],
    [{ consecutiveLocalOriginFailures: 1 }, "connect_failed", "local-origin-failures"],
    [{ consecutiveLocalOriginFailures: 1 }, 503, undefined],
    [{ consecutiveLocalOriginFailures: 1 }, "client_gone", undefined],
  ];
  const estimator = { observe: () => undefined, observeAtLeast: () => undefined, penalize: () => undefined };
  for (const [grpcStatus, reason] of [
    [14, "gateway-errors"],
    [4, "gateway-errors"],
    [13, undefined],
    [0, undefined],
    [5, undefined],
  ] as const) {
    const { clock, endpoints, breaker } = cluster(2, { ...config, consecutiveGatewayErrors: 1 });
    const [endpoint] = endpoints as [ClusterEndpoint];
    const call = scriptedRequest({ method: "POST", headers: ["content-type", "application/grpc"] });
    endpointLayer(clock, estimator)(endpoint, call, new RecordedReply(), 0);
    (endpoint.transport as ScriptedTransport).last.respond(200, ["grpc-status", `${grpcStatus}`]);
    t.equal(breaker.describe().reason, reason, `grpc-status ${grpcStatus}`);
  }
  for (const [change, step, reason] of table) {
    const { clock, endpoints, breaker } = cluster(2, { ...config, ...change });
    const [endpoint] = endpoints as [ClusterEndpoint];
    endpointLayer(clock, estimator)(endpoint, scriptedRequest(), new RecordedReply(), 0);
    const attempt = (endpoint.transport as ScriptedTransport).last;
    if (typeof step === "number") attempt.respond(step);
    else attempt.fail(step);
    t.equal(breaker.describe().reason, reason, `${step}`);
  }
});

t.test("endpoint layer: 429 is a penalty, by Retry-After up to 300 s", async (t) => {
  const cases: [string[], number][] = [
    [[], 5000],
    [["Retry-After", "7"], 7000],
    [["retry-after", "9999"], 300_000],
    [["Retry-After", "soon"], 5000],
  ];
  for (const [headers, expected] of cases) {
    const { clock, endpoints, breaker } = cluster(2);
    const endpoint = endpoints[0] as ClusterEndpoint;
    let askedMs = 0;
    const estimator = {
      observe() {},
      observeAtLeast() {},
      penalize: (_: unknown, ms: number) => void (askedMs = ms),
    };
    endpointLayer(clock, estimator)(endpoint, scriptedRequest(), new RecordedReply(), 0);
    (endpoint.transport as ScriptedTransport).last.respond(429, headers);
    t.equal(askedMs, expected);
    t.equal(breaker.describe().failuresInWindow, 0, "busy is not broken");
  }
});

t.test("endpoint layer: a shortage on this machine is no fault of the endpoint", async (t) => {
  const estimator = { observe() {}, observeAtLeast() {}, penalize() {} };
  for (const [code, failures] of [
    ["EMFILE", 0],
    ["EADDRNOTAVAIL", 0],
    ["ECONNREFUSED", 1],
  ] as const) {
    const { clock, endpoints, breaker } = cluster(2);
    const endpoint = endpoints[0] as ClusterEndpoint;
    endpointLayer(clock, estimator)(endpoint, scriptedRequest(), new RecordedReply(), 0);
    const cause = Object.assign(new Error(code), { code });
    (endpoint.transport as ScriptedTransport).last.end(new ProxyError("connect_failed", code, { cause }));
    t.equal(breaker.describe().failuresInWindow, failures, code);
    t.equal(endpoint.inflight, 0);
  }
});

t.test("pick: notes the attempt; without an endpoint it says why", async (t) => {
  const { clock, endpoints } = cluster(3);
  const source = {
    picker: { pick: (): ClusterEndpoint | undefined => endpoints[1] },
    endpoints: endpoints as readonly ClusterEndpoint[],
    balanced: endpoints as readonly ClusterEndpoint[],
    refused: 0,
    mtlsMode: "STRICT" as MtlsMode,
  };
  const estimator = { observe() {}, observeAtLeast() {}, penalize() {} };
  const service = pickEndpoint({
    cluster: "api.default",
    source: "TrafficPolicy/default/api",
    endpoints: source,
    dispatch: endpointLayer(clock, estimator),
    clock,
  });
  const request = scriptedRequest();
  const reply = new RecordedReply();
  const call = service.call(request, reply);
  t.equal(request.upstream, endpoints[1]);
  t.equal(request.attempts, 1);
  call.cancel(new ProxyError("client_gone", "test"));
  t.equal(reply.outcome, "client_gone");
  t.equal(endpoints[1]?.inflight, 0);

  source.picker = { pick: () => undefined };
  for (const endpoint of endpoints.slice(0, 1)) record(endpoint.gate, 0, "-------");
  const outcome = (): ProxyError | null => {
    const recorded = new RecordedReply();
    service.call(scriptedRequest(), recorded);
    return recorded.error;
  };
  t.equal(
    outcome()?.message,
    "no healthy upstream: cluster api.default: no endpoint available, 1 of 3 ejected",
  );
  source.balanced = endpoints.slice(0, 1);
  t.equal(
    outcome()?.detail,
    "cluster api.default: no endpoint available, 1 of 3 ejected, 2 isolated by an operator",
  );
  source.endpoints = [];
  t.match(outcome(), { code: "no_healthy_endpoint", detail: /^cluster api\.default: no endpoint known/ });
  source.refused = 2;
  t.match(outcome(), {
    code: "plaintext_refused",
    detail:
      "cluster api.default: 2 of 2 instances have no sidecar, mtls mode=STRICT, source=TrafficPolicy/default/api",
  });
});
