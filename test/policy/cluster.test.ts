/** The layers of a cluster together, as the proxy composes them, around transports played by the test. */
import fc from "fast-check";
import t from "tap";
import { EndpointSet } from "../../src/balance/endpoint-set.js";
import { forget, peakEwmaLatency } from "../../src/balance/peak-ewma.js";
import { clusterDefaults, retryDefaults } from "../../src/config/cluster-defaults.js";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { ClusterEndpoint } from "../../src/policy/cluster-endpoint.js";
import { concurrencyLimit } from "../../src/policy/concurrency-limit.js";
import { EjectionBudget } from "../../src/policy/ejection-budget.js";
import { EndpointBreaker } from "../../src/policy/endpoint-breaker.js";
import { endpointLayer } from "../../src/policy/endpoint-layer.js";
import { pickEndpoint } from "../../src/policy/pick-endpoint.js";
import { RetryBudget } from "../../src/policy/retry-budget.js";
import { retry } from "../../src/policy/retry.js";
import { attemptTimeout, routeTimeout } from "../../src/policy/timeouts.js";
import { stack, type Call } from "../../src/stack/service.js";
import { Counter, Gauge } from "../../src/telemetry/cells.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import { seeded } from "../support/seeded-random.js";
import { RecordedReply, scriptedRequest, type ScriptedAttempt } from "../support/scripted-service.js";

type Behaviour = (attempt: ScriptedAttempt) => void;

const succeed: Behaviour = (attempt) => attempt.respond(200);
const refuse: Behaviour = (attempt) => attempt.fail("connect_failed");
const hang: Behaviour = () => {};

/** One transport per endpoint; each plays what `behaviours` says at the time. */
class BehavingTransport extends ScriptedTransport {
  behaviour: Behaviour = succeed;
  count = 0;
  override call(...args: Parameters<ScriptedTransport["call"]>): Call {
    this.count++;
    const call = super.call(...args);
    this.behaviour(this.last);
    return call;
  }
}

function mesh(count: number) {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const active = new Gauge();
  const states: string[] = [];
  const budget = new EjectionBudget(clusterDefaults.breaker.maxEjectionPercent, () => set.endpoints);
  const transports: BehavingTransport[] = [];
  const set: EndpointSet<ClusterEndpoint> = new EndpointSet<ClusterEndpoint>(
    { loadBalancer: clusterDefaults.loadBalancer, mtlsMode: "STRICT" },
    {
      create: (key, config) => {
        const transport = new BehavingTransport();
        transports.push(transport);
        const gate: EndpointBreaker = new EndpointBreaker({
          config: clusterDefaults.breaker,
          budget,
          clock,
          onEvent: ({ state }) => {
            states.push(`${key} ${state}`);
            if (state === "half-open") forget(endpoint);
          },
        });
        const endpoint = new ClusterEndpoint(key, config, gate, transport);
        return endpoint;
      },
      clock: { random: seeded(1), monotonicMs: () => clock.monotonicMs() },
      panics: new Counter(),
    },
  );
  set.update(Array.from({ length: count }, (_, i) => endpointConfig(i)));
  const counter = (): Counter => new Counter();
  const meters = { retries: counter(), successes: counter(), overflows: counter(), exhausted: counter() };
  const source = "HTTPRoute/default/api";
  const service = stack(
    [
      routeTimeout({ timeoutMs: 2000, source, wheel }),
      retry({
        config: { ...retryDefaults, attempts: 2 },
        budget: new RetryBudget(clusterDefaults.retryBudget),
        wheel,
        clock,
        meters,
      }),
      attemptTimeout({ timeoutMs: 500, source, wheel }),
      concurrencyLimit({
        scope: "cluster api.default",
        maxRequests: 50,
        source,
        active,
        rejected: counter(),
      }),
    ],
    pickEndpoint({
      cluster: "api.default",
      source,
      endpoints: set,
      dispatch: endpointLayer(clock, peakEwmaLatency),
      clock,
    }),
  );
  const send = (method = "GET") => {
    const request = scriptedRequest({ method, startMs: clock.monotonicMs() });
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  return { clock, set, transports, send, active, states, meters };
}

t.test(
  "a dead endpoint: no request fails, none is sent to it twice, it is ejected and comes back",
  async (t) => {
    const { clock, set, transports, send, states, active } = mesh(3);
    const dead = transports[0] as BehavingTransport;
    dead.behaviour = refuse;
    const run = (requests: number): void => {
      for (let i = 0; i < requests; i++) {
        const { request, reply } = send("POST");
        clock.advance(100);
        if (reply.outcome !== "200") t.fail(`request ${i}: ${reply.outcome}`);
        if (new Set(request.tried).size !== request.tried.length) t.fail("an endpoint was tried twice");
      }
    };
    run(100);
    t.match(states[0], /^10\.0\.0\.0:8443:meshed open$/);
    t.ok(dead.count < 15, `${dead.count} attempts, probes included, in 10 s`);
    dead.behaviour = succeed;
    const before = dead.count;
    run(1000);
    t.match(states.at(-1), / closed$/);
    t.ok(dead.count > before + 100, `it serves again: ${dead.count - before} of 1000`);
    t.equal(active.value, 0);
    t.same(
      set.endpoints.map((endpoint) => endpoint.inflight),
      [0, 0, 0],
    );
  },
);

t.test("black hole: the attempt timeout moves the request to another endpoint", async (t) => {
  const { clock, transports, send } = mesh(2);
  (transports[0] as BehavingTransport).behaviour = hang;
  for (let i = 0; i < 20; i++) {
    const { reply } = send();
    clock.advance(600);
    t.equal(reply.outcome, "200");
  }
});

t.test("everything hangs: the route timeout caps all attempts", async (t) => {
  const { clock, transports, send } = mesh(2);
  for (const transport of transports) transport.behaviour = hang;
  const { reply, request } = send();
  clock.advance(1400);
  t.equal(reply.outcome, "pending");
  t.equal(request.attempts, 3);
  clock.advance(700);
  t.equal(reply.outcome, "attempt_timeout", "three attempts of 500 ms fit in 2 s");
  t.equal(request.flag, "URX");
});

t.test("all dead: ejection stops in time, errors pass, recovery needs no wait", async (t) => {
  const { clock, set, transports, send } = mesh(4);
  for (const transport of transports) transport.behaviour = refuse;
  for (let i = 0; i < 50; i++) {
    send();
    clock.advance(50);
  }
  t.equal(set.healthy(clock.monotonicMs()) >= 2, true, "at most half is ejected");
  for (const transport of transports) transport.behaviour = succeed;
  const { reply } = send();
  clock.advance(100);
  t.equal(reply.outcome, "200");
});

t.test(
  "whatever upstreams and clients do, every call ends once and every count returns to zero",
  async (t) => {
    const codes: ErrorCode[] = [
      "connect_failed",
      "upstream_reset",
      "upstream_unprocessed",
      "concurrency_limit",
    ];
    const behaviours: Behaviour[] = [
      succeed,
      hang,
      (attempt) => attempt.head(200),
      (attempt) => attempt.respond(503),
      (attempt) => attempt.respond(429),
      (attempt) => {
        attempt.head(200);
        attempt.fail("upstream_truncated");
      },
      ...codes.map(
        (code): Behaviour =>
          (attempt) =>
            attempt.fail(code),
      ),
    ];
    const event = fc.record({
      behaviour: fc.nat(behaviours.length - 1),
      endpoint: fc.nat(2),
      cancel: fc.boolean(),
      waitMs: fc.constantFrom(0, 5, 30, 600, 1500),
      method: fc.constantFrom("GET", "POST"),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const { clock, set, transports, send, active } = mesh(3);
        const sent: ReturnType<typeof send>[] = [];
        for (const { behaviour, endpoint, cancel, waitMs, method } of events) {
          (transports[endpoint] as BehavingTransport).behaviour = behaviours[behaviour] as Behaviour;
          sent.push(send(method));
          if (cancel) sent[Math.floor(sent.length / 2)]?.call.cancel(new ProxyError("client_gone", "test"));
          clock.advance(waitMs);
        }
        clock.advance(10_000);
        return (
          sent.every(({ reply }) => reply.ends === 1) &&
          active.value === 0 &&
          set.endpoints.every(({ inflight }) => inflight === 0) &&
          set.endpoints.every(({ gate }) => gate.isOpen(clock.monotonicMs() + 60_000)) &&
          clock.pendingTimers === 0
        );
      }),
      { numRuns: 300 },
    );
    t.pass("property held");
  },
);
