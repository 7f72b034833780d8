/** Snapshots taking over from each other while requests are under way, with endpoints played by the test. */
import fc from "fast-check";
import t from "tap";
import type { ClusterConfig, EndpointConfig, RouteConfig, Snapshot } from "../../src/config/snapshot.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { ErrorCode } from "../../src/errors/error-table.js";
import { ProxyError } from "../../src/errors/proxy-error.js";
import { calledSideGraceMs } from "../../src/policy/deadline.js";
import { RequestMemory } from "../../src/policy/request-memory.js";
import type { BreakerCommand } from "../../src/policy/breaker-command.js";
import { DataPlane } from "../../src/proxy/data-plane.js";
import { inbound, type InboundOptions } from "../../src/proxy/inbound.js";
import { outbound } from "../../src/proxy/outbound.js";
import { DeferredTransport } from "../../src/stack/deferred.js";
import { RequestContext } from "../../src/stack/request-context.js";
import type { Call, Service } from "../../src/stack/service.js";
import { Counter, Gauge } from "../../src/telemetry/cells.js";
import { ClusterMetricsByName } from "../../src/telemetry/cluster-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { retryDefaults, serviceBreakerDefaults } from "../../src/config/cluster-defaults.js";
import { FakeClock } from "../support/fake-clock.js";
import { getHeader } from "../../src/traffic/headers.js";
import { ScriptedSource } from "../support/scripted-body.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import { RecordedReply, scriptedRequest, type ScriptedAttempt } from "../support/scripted-service.js";
import { seeded } from "../support/seeded-random.js";
import { snapshotTo } from "../support/sidecar-kit.js";

interface MadeTransport extends ScriptedTransport {
  readonly port: number;
  readonly config: ClusterConfig;
}

function setup() {
  const clock = new FakeClock();
  clock.randoms = Array.from({ length: 5000 }, seeded(1));
  const wheel = new TimerWheel(clock);
  const metrics = new ClusterMetricsByName(new Metrics(), "web");
  const transports: MadeTransport[] = [];
  const attempts: ScriptedAttempt[] = [];
  class Transport extends ScriptedTransport implements MadeTransport {
    readonly port: number;
    readonly config: ClusterConfig;
    constructor(config: ClusterConfig, endpoint: EndpointConfig) {
      super();
      this.config = config;
      this.port = endpoint.port;
      transports.push(this);
    }
    override call(...args: Parameters<ScriptedTransport["call"]>): Call {
      const call = super.call(...args);
      attempts.push(this.last);
      return call;
    }
  }
  const cells = (name: string) => metrics.of(name, name);
  const events: string[] = [];
  const policyCells = new Metrics();
  const rejected = new Counter();
  const plane = new DataPlane({
    clock,
    wheel,
    policyMetrics: new PolicyMetrics(policyCells),
    onFaultExpired: (policy) => events.push(`${policy} expired`),
    cluster: ({ name }) => ({
      clock,
      wheel,
      meters: () => ({
        active: cells(name).requestsActive,
        rejected: cells(name).pendingOverflow,
        panics: cells(name).panics,
        retries: cells(name).retries,
        successes: cells(name).retrySuccesses,
        overflows: cells(name).retryBudgetDenied,
        exhausted: cells(name).retriesExhausted,
      }),
      metrics: () => cells(name),
      transport: (config, endpoint) => new Transport(config, endpoint),
      breakers: {
        onService: ({ from, to, reason }) => void events.push(`service ${from} -> ${to}: ${reason}`),
        onOverride: ({ action, endpoint, change }) =>
          void events.push(`${action} ${endpoint ?? "service"} ${change}`),
        meters: () => ({ rejected, slowCalls: new Counter() }),
        onSlowAttempt: () => undefined,
      },
      identity: "spiffe://mesh.local/ns/default/svc/web",
      onBreaker: (cluster, { port }, { state }) => events.push(`${cluster} ${port} ${state}`),
    }),
  });
  const service = outbound({
    plane,
    node: "web-1",
    observe: (inner) => inner,
    wheel,
    service: "api.default",
    memory: new RequestMemory(),
    expired: new Counter(),
  });
  const send = (target = "/", method = "GET", more: readonly string[] = []) => {
    const head = {
      method,
      target,
      authority: "api",
      upgrade: "",
      version: "1.1" as const,
      headers: ["host", "api", ...more],
    };
    const request = new RequestContext(head, null, clock.monotonicMs(), "127.0.0.1:1");
    const reply = new RecordedReply();
    const call = service.call(request, reply);
    return { request, reply, call };
  };
  const endpoints = () => [...plane.clusters()].flatMap((cluster) => cluster.endpoints);
  const active = () => cells("api.default").requestsActive.value;
  return { clock, plane, transports, attempts, events, send, endpoints, active, rejected };
}

const gone = new ProxyError("client_gone", "scripted");
const retrying = { retry: { ...retryDefaults, attempts: 2 } };

function withCluster(snapshot: Snapshot, change: Partial<ClusterConfig>): Snapshot {
  return { ...snapshot, clusters: snapshot.clusters.map((cluster) => ({ ...cluster, ...change })) };
}

function withRoutes(snapshot: Snapshot, change: Partial<RouteConfig>): Snapshot {
  const virtualHosts = snapshot.virtualHosts.map((host) => ({
    ...host,
    routes: host.routes.map((route) => ({ ...route, ...change })),
  }));
  return { ...snapshot, virtualHosts };
}

t.test("what policies of routes remember outlives a push, and goes with them", async (t) => {
  const { clock, plane, attempts, events, send } = setup();
  const source = "TrafficPolicy/default/api";
  const fallback = (maxEntries: number): Partial<RouteConfig> => ({
    fallback: {
      on: ["5xx"],
      source,
      action: { type: "cached", cached: { maxAgeMs: 60_000, maxEntries, maxBytes: 10_000 } },
    },
  });
  const first = snapshotTo([1, 2], { version: "1" });
  plane.apply(withRoutes(first, fallback(10)));
  send("/a");
  attempts.at(-1)?.respond(200, ["x-answer", "kept"]);
  plane.apply(withRoutes({ ...first, version: "2" }, { ...fallback(5), timeoutMs: 1000 }));
  const broken = () => {
    const { reply } = send("/a");
    attempts.at(-1)?.respond(503);
    return reply;
  };
  t.equal(getHeader(broken().headers, "x-answer"), "kept");
  plane.apply({ ...first, version: "3" });
  t.equal(broken().status, 503);
  plane.apply(withRoutes({ ...first, version: "4" }, fallback(5)));
  t.equal(broken().status, 503, "forgotten with its policy");

  const fault = {
    fault: { abort: { status: 500, percent: 100 }, headers: [], expiresMs: clock.wallMs() + 1000, source },
  };
  plane.apply(withRoutes({ ...first, version: "5" }, fault));
  t.equal(send().reply.status, 500);
  clock.advance(1000);
  const before = attempts.length;
  send();
  plane.apply(withRoutes({ ...first, version: "6" }, { ...fault, timeoutMs: 1000 }));
  send();
  t.equal(attempts.length, before + 2);
  t.same(events, [`${source} expired`], "told once");
});

t.test("a fault stands before the fallback; a hedge and a mirror go to endpoints of their own", async (t) => {
  const { clock, plane, attempts, send, transports } = setup();
  const source = "TrafficPolicy/default/api";
  const first = snapshotTo([1, 2], { version: "1" });
  const reply = { type: "reply", reply: { http: { status: 202, headers: [], body: "" } } } as const;
  const expiresMs = clock.wallMs() + 60_000;
  plane.apply(
    withRoutes(first, {
      fallback: { on: ["5xx"], source, action: reply },
      fault: {
        abort: { status: 500, percent: 100 },
        headers: [{ name: "x-user", type: "exact", value: "tester" }],
        expiresMs,
        source,
      },
    }),
  );
  t.equal(send("/", "GET", ["x-user", "tester"]).reply.status, 500);
  const failed = send();
  attempts.at(-1)?.respond(500);
  t.equal(failed.reply.status, 202);

  const hedge = { after: { type: "delay", delayMs: 50 }, maxAttempts: 1, budgetPercent: 100 } as const;
  const action = {
    type: "forward",
    backends: [{ cluster: "api.default", weight: 1 }],
    mirrors: [{ cluster: "api.default", perMillion: 1_000_000 }],
  } as const;
  plane.apply(withCluster({ ...first, version: "2" }, { hedge }));
  const count = attempts.length;
  const hedged = send();
  clock.advance(70);
  t.equal(attempts.length, count + 2);
  t.same([...new Set(hedged.request.tried)].length, 1);
  const used = transports.filter(({ attempts: own }) => own.some((one) => attempts.slice(-2).includes(one)));
  t.equal(used.length, 2, "on two endpoints");
  attempts.at(-1)?.respond(204);
  t.equal(hedged.reply.outcome, "204");
  t.equal(attempts.at(-2)?.isEnded, true);

  plane.apply(withRoutes({ ...first, version: "3" }, { action }));
  const mirrored = send();
  const [original, copy] = attempts.slice(-2);
  t.equal(getHeader(copy?.request.head.headers ?? [], "x-remora-mirror"), "default");
  original?.respond(200);
  t.equal(mirrored.reply.outcome, "200");
  clock.advance(31_000);
  t.equal(copy?.cancelledWith?.code, "route_timeout", "nobody else would end it");
});

t.test("what did not change keeps connections, averages, breakers and counts", async (t) => {
  const { clock, plane, transports, attempts, events, send, endpoints, active } = setup();
  const first = snapshotTo([1, 2, 3], { version: "1" });
  plane.apply(first);
  const fail: ErrorCode = "upstream_reset";
  // The breaker of one endpoint opens, the others get an average.
  for (let i = 0; i < 60 && events.length === 0; i++) {
    send();
    clock.advance(5);
    const attempt = attempts.at(-1) as ScriptedAttempt;
    if (transports.find(({ port }) => port === 1)?.attempts.includes(attempt) === true) attempt.fail(fail);
    else attempt.respond(200);
  }
  t.same(events, ["api.default 1 open"]);
  const before = [...endpoints()];
  const known = before.map(({ latencyMs, gate }) => [latencyMs, gate.isEjected]);
  const running = send();
  t.equal(active(), 1);

  plane.apply(withRoutes({ ...first, version: "2" }, { timeoutMs: 1000 }));
  t.same(endpoints(), before, "another route");
  t.equal(transports.length, 3);
  for (const policy of ["maglev", "round_robin", "least_request", "peak_ewma"] as const) {
    const loadBalancer = { policy, panicThresholdPercent: 50, slowStartMs: 1000 };
    plane.apply(withCluster({ ...first, version: `2 ${policy}` }, { loadBalancer }));
    t.same(endpoints(), before, policy);
    t.same([transports.length, active()], [3, 1]);
    t.same(
      before.map(({ latencyMs, gate, warmingSinceMs }) => [latencyMs, gate.isEjected, warmingSinceMs]),
      known.map((each) => [...each, -Infinity]),
    );
  }
  plane.apply(
    withCluster({ ...first, version: "3" }, { maxRequests: 2, source: "TrafficPolicy/default/api" }),
  );
  t.same(endpoints(), before, "another limit of the cluster");
  t.equal(transports.length, 3);
  t.equal(active(), 1, "what is under way still counts");
  const second = send();
  t.equal(send().reply.outcome, "503", "the new limit, over old and new requests");
  second.call.cancel(gone);

  plane.apply(withCluster({ ...first, version: "4" }, { connectTimeoutMs: 50 }));
  t.same(endpoints(), before, "other connections, the same endpoints");
  const made = (): [string, number][] =>
    transports.map(({ ended, config }) => [ended, config.connectTimeoutMs]);
  const retired = Array<[string, number]>(3).fill(["retired", 1000]);
  t.same(made(), retired);
  send().call.cancel(gone);
  t.same(made(), [...retired, ["", 50]], "new ones as they are needed");
  t.same(
    before.map(({ latencyMs, gate }) => [latencyMs, gate.isEjected]),
    known,
  );
  plane.apply(snapshotTo([2, 3, 4], { version: "5" }));
  t.same(endpoints().slice(0, 2), before.slice(1));
  attempts.find((attempt) => attempt.request === running.request)?.respond(200);
  t.equal(running.reply.outcome, "200", "it finished on the connection it began with");
  t.equal(active(), 0);
  t.same(
    before.map(({ inflight }) => inflight),
    [0, 0, 0],
  );
});

t.test("an endpoint that comes back from its ejection warms up, as one that is new does", async (t) => {
  const { clock, plane, transports, attempts, events, send, endpoints } = setup();
  plane.apply(snapshotTo([1, 2, 3], { version: "1" }));
  for (let i = 0; i < 200 && events.at(-1) !== "api.default 1 closed"; i++) {
    send();
    clock.advance(50);
    const attempt = attempts.at(-1) as ScriptedAttempt;
    const isFirst = transports.find(({ port }) => port === 1)?.attempts.includes(attempt) === true;
    if (isFirst && !events.includes("api.default 1 half-open")) attempt.fail("upstream_reset");
    else attempt.respond(200);
  }
  t.match(events, ["api.default 1 open", "api.default 1 half-open", "api.default 1 closed"]);
  plane.apply(snapshotTo([1, 2, 3, 4], { version: "2" }));
  const now = clock.monotonicMs();
  t.same(
    endpoints().map(({ warmingSinceMs }) => warmingSinceMs),
    [now, -Infinity, -Infinity, now],
  );
});

t.test("a cluster of a subset without an endpoint names it", async (t) => {
  const { plane, send } = setup();
  plane.apply(withCluster(snapshotTo([], { version: "1" }), { subset: "subset v2 (version=v2)" }));
  const { reply } = send();
  t.equal(reply.outcome, "503");
  t.equal(getHeader(reply.headers, "x-remora-error"), "no_healthy_endpoint");
});

t.test("a request of the old configuration is retried on what there is now", async (t) => {
  const next: [string, Snapshot, number][] = [
    ["endpoints replaced", withRoutes(snapshotTo([3], { version: "2" }), retrying), 3],
    [
      "connections replaced",
      withCluster(withRoutes(snapshotTo([1, 2], { version: "2" }), retrying), { poolIdleMs: 9 }),
      0,
    ],
    [
      "identity replaced",
      withCluster(withRoutes(snapshotTo([1, 2], { version: "2" }), retrying), {
        identities: ["spiffe://mesh.local/ns/default/svc/other"],
      }),
      0,
    ],
    ["cluster gone", snapshotTo([], { version: "2", services: ["other"] }), 0],
  ];
  for (const [what, snapshot, port] of next) {
    const { clock, plane, transports, attempts, send, active } = setup();
    plane.apply(withRoutes(snapshotTo([1, 2], { version: "1" }), retrying));
    const { reply } = send();
    plane.apply(what === "cluster gone" ? { ...snapshot, endpoints: new Map() } : snapshot);
    attempts[0]?.fail("upstream_reset");
    clock.advance(500);
    t.equal(attempts.length, 2, what);
    const second = transports.find((transport) =>
      transport.attempts.includes(attempts[1] as ScriptedAttempt),
    );
    if (port !== 0) t.equal(second?.port, port, what);
    attempts[1]?.respond(200);
    t.equal(reply.outcome, "200", what);
    t.equal(active(), 0, what);
  }
});

t.test("a cluster that is gone finishes its requests; one that comes back begins anew", async (t) => {
  const { plane, transports, attempts, send, active } = setup();
  plane.apply(snapshotTo([1], { version: "1" }));
  const { reply } = send();
  plane.apply({ ...snapshotTo([], { version: "2", services: [] }), endpoints: new Map() });
  t.equal(transports[0]?.ended, "retired");
  t.equal(reply.outcome, "pending");
  t.equal(send().reply.outcome, "404");
  plane.apply(snapshotTo([1], { version: "3" }));
  t.equal(active(), 1);
  attempts[0]?.respond(200);
  t.equal(reply.outcome, "200");
  const again = send();
  t.equal(transports.length, 2);
  attempts[1]?.respond(204);
  t.equal(again.reply.outcome, "204");
  t.equal(active(), 0);
});

t.test("a snapshot that cannot be carried out leaves everything as it was", async (t) => {
  const { plane, transports, attempts, send, endpoints } = setup();
  const good = snapshotTo([1, 2], { version: "good" });
  plane.apply(good);
  const { table } = plane;
  const before = [...endpoints()];
  send();
  const bad = withCluster(snapshotTo([7, 8], { version: "bad", services: ["api", "other"] }), {
    connectTimeoutMs: 1,
  });
  const modifier = { set: [], add: [], remove: [] };
  const changes: Partial<RouteConfig>[] = [
    { match: { path: { type: "regex", value: "(" }, headers: [], query: [] } },
    {
      match: {
        path: { type: "prefix", value: "/" },
        headers: [{ name: "a", type: "regex", value: "(?=x)" }],
        query: [],
      },
    },
    { requestHeaders: { ...modifier, set: [["x-a", "1\r\nx-b: 2"]] } },
    { responseHeaders: { ...modifier, add: [["content-length", "5"]] } },
    {
      action: {
        type: "forward",
        backends: [{ cluster: "api.default", weight: 1 }],
        rewrite: { path: { type: "full", value: "no-slash" } },
      },
    },
  ];
  for (const change of changes) {
    t.throws(() => plane.apply(withRoutes(bad, change)), ConfigError);
    t.equal(plane.snapshot, good);
    t.equal(plane.table, table);
    t.same(endpoints(), before);
    t.notOk(transports.some(({ ended }) => ended !== ""));
  }
  const { reply } = send();
  attempts.at(-1)?.respond(200);
  t.equal(reply.outcome, "200");
});

t.test(
  "whatever is applied in whichever order, no request is lost and every count returns to zero",
  async () => {
    const base = snapshotTo([1, 2, 3], { version: "0" });
    const variants: Snapshot[] = [
      base,
      snapshotTo([2, 3, 4], { version: "" }),
      withRoutes(base, retrying),
      withCluster(base, { connectTimeoutMs: 20 }),
      withCluster(base, { maxRequests: 500 }),
      withCluster(base, { loadBalancer: { policy: "round_robin", panicThresholdPercent: 0 } }),
      withCluster(withRoutes(base, retrying), {
        retryBudget: { percent: 90, minRetriesPerSecond: 5, windowMs: 500 },
      }),
      { ...snapshotTo([], { version: "", services: ["other"] }), endpoints: new Map() },
    ];
    const step = fc.oneof(
      fc.record({ apply: fc.nat(variants.length - 1) }),
      fc.record({ send: fc.constant(true) }),
      fc.record({ answer: fc.nat(), status: fc.constantFrom(200, 404) }),
      fc.record({ cancel: fc.nat() }),
      fc.record({ wait: fc.nat(300) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { clock, plane, attempts, send, endpoints, active } = setup();
        plane.apply(base);
        const sent: ReturnType<typeof send>[] = [];
        const seen = new Set(endpoints());
        let version = 0;
        for (const each of steps) {
          const open = attempts.filter((attempt) => !attempt.isEnded);
          if ("apply" in each)
            plane.apply({ ...(variants[each.apply] as Snapshot), version: String(++version) });
          else if ("send" in each) sent.push(send());
          else if ("answer" in each) open[each.answer % open.length]?.respond(each.status);
          else if ("cancel" in each) sent[each.cancel % sent.length]?.call.cancel(gone);
          else clock.advance(each.wait);
          for (const endpoint of endpoints()) seen.add(endpoint);
        }
        for (const attempt of attempts) if (!attempt.isEnded) attempt.respond(200);
        const outcomes = sent.map(({ reply }) => reply.outcome);
        // 404: sent while the service was not known.
        const isFine = outcomes.every((outcome) => ["200", "404", "client_gone"].includes(outcome));
        return isFine && active() === 0 && [...seen].every(({ inflight }) => inflight === 0);
      }),
      { numRuns: 200 },
    );
  },
);

/** The way from the mesh to an application, without policies. */
function inboundTo(app: ScriptedTransport, clock: FakeClock, more: Partial<InboundOptions> = {}): Service {
  const counter = (): Counter => new Counter();
  return inbound({
    authorization: (inner) => inner,
    rules: (inner) => inner,
    clock,
    wheel: new TimerWheel(clock),
    observe: (inner) => inner,
    self: "spiffe://mesh.local/ns/default/svc/api",
    app,
    appConfig: endpointConfig(1),
    mtlsMode: () => "DISABLE",
    maxRequests: 0,
    active: new Gauge(),
    rejected: counter(),
    retryMeters: { retries: counter(), successes: counter(), overflows: counter(), exhausted: counter() },
    memory: new RequestMemory(),
    expired: counter(),
    ...more,
  });
}

t.test("the called sidecar cuts a silent tunnel, after the calling one had its time to", async (t) => {
  const table = [
    [undefined, 3_600_000, "value=1h, source=default"],
    [
      { idleMs: 5000, source: "TrafficPolicy/default/chat" },
      5000,
      "value=5s, source=TrafficPolicy/default/chat",
    ],
  ] as const;
  for (const [tunnelIdle, idleMs, text] of table) {
    const [clock, app] = [new FakeClock(), new ScriptedTransport()];
    const request = scriptedRequest({ body: new ScriptedSource() });
    request.head.upgrade = "websocket";
    const reply = new RecordedReply();
    inboundTo(app, clock, { tunnelIdle }).call(request, reply);
    app.last.head(101, [], new ScriptedSource());
    clock.advance(idleMs + calledSideGraceMs - 10);
    t.equal(reply.outcome, "pending");
    clock.advance(40);
    t.match(reply.error?.message, `timer=tunnel_idle, ${text}`);
    t.equal(app.last.cancelledWith?.code, "stream_idle_timeout");
  }
  const [clock, app] = [new FakeClock(), new ScriptedTransport()];
  const reply = new RecordedReply();
  inboundTo(app, clock, { tunnelIdle: { idleMs: 5000, source: "" } }).call(scriptedRequest(), reply);
  clock.advance(60_000);
  t.equal(reply.outcome, "pending", "a request is none");
});

t.test("a gRPC call keeps its deadline on both sides, and each hands on what is left", async (t) => {
  const grpc = ["content-type", "application/grpc", "grpc-timeout", "400m"];
  const told = (attempt: ScriptedAttempt | undefined) =>
    getHeader(attempt?.request.head.headers ?? [], "grpc-timeout");
  const exceeded = (reply: RecordedReply) => [
    reply.outcome,
    getHeader(reply.headers, "grpc-status"),
    getHeader(reply.headers, "grpc-message")?.split(": ")[1],
    reply.body,
  ];
  const deadline = "timer=grpc-timeout, value=400ms, source=caller";

  const { clock, plane, attempts, send } = setup();
  const changed = { ...retrying, timeoutMs: 300, attemptTimeoutMs: 200 };
  plane.apply(withRoutes(snapshotTo([1, 2], { version: "1" }), changed));
  const first = send("/echo.Echo/Unary", "POST", grpc);
  t.equal(told(attempts[0]), "200000u", "the attempt has the least");
  clock.advance(150);
  attempts[0]?.respond(200, ["content-type", "application/grpc", "grpc-status", "14"]);
  clock.advance(30);
  t.equal(attempts.length, 2, "unavailable: sent again, a POST as it is");
  t.ok(parseInt(told(attempts[1]) ?? "") <= 150_000, `of the route, ${told(attempts[1])} is left`);
  attempts[1]?.respond(200, ["content-type", "application/grpc", "grpc-status", "0"]);
  t.equal(first.reply.outcome, "200");
  t.equal(first.request.grpcStatus, 0);

  plane.apply(withRoutes(snapshotTo([1, 2], { version: "2" }), retrying));
  const late = send("/echo.Echo/Unary", "POST", grpc);
  clock.advance(411);
  t.same(exceeded(late.reply), ["200", "4", deadline, null]);
  t.equal(attempts.at(-1)?.cancelledWith?.code, "route_timeout");

  const app = new ScriptedTransport();
  const service = inboundTo(app, clock);
  const request = scriptedRequest({ method: "POST", headers: grpc, startMs: clock.monotonicMs() - 50 });
  const reply = new RecordedReply();
  service.call(request, reply);
  t.equal(told(app.last), "350000u");
  clock.advance(calledSideGraceMs + 399);
  t.equal(reply.outcome, "pending", "the calling sidecar's timer comes first");
  clock.advance(12);
  t.same(exceeded(reply), ["200", "4", deadline, null]);

  const passedOn = new RecordedReply();
  service.call(scriptedRequest(), passedOn);
  app.last.respond(502, ["X-Remora-Error", "connect_failed", "a", "b"]);
  t.same(passedOn.headers, ["a", "b"], "an application cannot speak for its sidecar");
});

t.test(
  "no timer is hidden: a minute of silence passes, and each 504 names timer, value and document",
  async (t) => {
    const { clock, plane, attempts, send } = setup();
    const first = snapshotTo([1], { version: "1" });
    plane.apply(first);
    const slow = send();
    clock.advance(60_000);
    attempts.at(-1)?.respond(200);
    t.equal(slow.reply.outcome, "200");

    const limitSources = {
      request: "TrafficPolicy/default/request",
      attempt: "TrafficPolicy/default/attempt",
    };
    const cases: [change: Partial<RouteConfig>, text: string][] = [
      [{ timeoutMs: 1000 }, "timer=route, value=1s, source=HTTPRoute/default/api"],
      [{ timeoutMs: 1000, limitSources }, "timer=route, value=1s, source=TrafficPolicy/default/request"],
      [
        { attemptTimeoutMs: 1000, limitSources },
        "timer=attempt, value=1s, source=TrafficPolicy/default/attempt",
      ],
      [{ streamIdleMs: 1000, limitSources }, "timer=stream_idle, value=1s, source=HTTPRoute/default/api"],
      [
        { streamIdleMs: 1000, limitSources: { streamIdle: "TrafficPolicy/default/idle" } },
        "timer=stream_idle, value=1s, source=TrafficPolicy/default/idle",
      ],
    ];
    for (const [index, [change, text]] of cases.entries()) {
      const version = `${index + 2}`;
      plane.apply({ ...withRoutes(first, { source: "HTTPRoute/default/api", ...change }), version });
      const { reply, request } = send();
      clock.advance(1011);
      t.equal(reply.status, 504, text);
      t.match(request.error?.detail, text);
    }
  },
);

t.test("attempts at sidecars are told of time and repetition, others are not", async (t) => {
  const { clock, plane, attempts, send } = setup();
  const first = snapshotTo([1, 2], { version: "1" });
  const retry = { ...retryDefaults, attempts: 3, jitter: "none" as const };
  const told = (): (string | undefined)[] =>
    ["x-envoy-expected-rq-timeout-ms", "x-remora-attempt"].map((name) =>
      getHeader(attempts.at(-1)?.request.head.headers ?? [], name),
    );
  plane.apply(withRoutes(first, { retry, timeoutMs: 1000, attemptTimeoutMs: 900 }));
  send();
  t.same(told(), ["900", undefined]);
  attempts.at(-1)?.fail("connect_failed");
  clock.advance(30);
  t.equal(told()[1], undefined, "nobody saw the first");
  attempts.at(-1)?.respond(503);
  clock.advance(60);
  t.equal(told()[1], "2");
  clock.advance(100);
  attempts.at(-1)?.respond(503);
  clock.advance(110);
  t.equal(told()[1], "3");
  t.ok(Number(told()[0]) < 800, `${told()[0]} ms are left of the route's second`);
  attempts.at(-1)?.respond(200);

  const plain = new Map(
    [...first.endpoints].map(([name, all]) => [name, all.map((each) => ({ ...each, meshed: false }))]),
  );
  const permissive = withCluster(withRoutes(first, { retry, timeoutMs: 1000 }), { mtlsMode: "PERMISSIVE" });
  plane.apply({ ...permissive, version: "2", endpoints: plain });
  send("/", "GET", ["x-remora-attempt", "2"]);
  t.same(told(), [undefined, undefined]);
  const { length } = attempts;
  attempts.at(-1)?.respond(503);
  clock.advance(1000);
  t.equal(attempts.length, length, "what the application says it repeats is not repeated again");
});

t.test("what is made by its first call keeps what it was told before", async (t) => {
  for (const end of ["retire", "close"] as const) {
    const made: ScriptedTransport[] = [];
    const transport = new DeferredTransport(() => {
      made.push(new ScriptedTransport());
      return made[0] as ScriptedTransport;
    });
    transport.retire();
    transport[end]();
    t.equal(made.length, 0, "nothing is made to be ended");
    transport.call(scriptedRequest(), new RecordedReply());
    transport.call(scriptedRequest(), new RecordedReply());
    t.equal(made.length, 1);
    t.equal(made[0]?.ended, end === "retire" ? "retired" : "closed");
  }
});

t.test(
  "classes: a push keeps who waits; who was shed goes elsewhere, and no endpoint is judged by it",
  async (t) => {
    const { clock, plane, transports, attempts, events, send, active } = setup();
    const bulkheads = { batch: { maxRequests: 1, maxPending: 5, maxWaitMs: 1000 } };
    const first = withRoutes(withCluster(snapshotTo([1, 2], { version: "1" }), { bulkheads }), {
      priority: { type: "header", name: "x-class" },
    });
    plane.apply(first);
    const post = (name: string) => send("/", "POST", ["X-Class", name]);
    const [running, waiting, critical] = [post("batch"), post("batch"), post("critical")];
    t.same(
      attempts.map(({ request }) => getHeader(request.head.headers, "x-remora-priority")),
      ["batch", "critical"],
    );
    plane.apply(withCluster({ ...first, version: "2" }, { bulkheads, connectTimeoutMs: 50 }));
    plane.apply(withCluster({ ...first, version: "3" }, { bulkheads, maxRequests: 500 }));
    t.equal(waiting.reply.outcome, "pending");
    const later = post("batch");
    attempts[0]?.respond(200);
    t.equal(running.reply.outcome, "200");
    t.equal(attempts.length, 3, "the place of the one is that of the next");

    const portOf = (attempt: ScriptedAttempt | undefined): number | undefined =>
      transports.find((each) => attempt !== undefined && each.attempts.includes(attempt))?.port;
    const shed = ["x-remora-error", "overloaded", "retry-after", "1"];
    attempts[1]?.respond(503, [...shed]);
    clock.advance(300);
    t.not(portOf(attempts[3]), portOf(attempts[1]), "at the other endpoint, although it is a POST");
    attempts[3]?.respond(200);
    t.equal(critical.reply.outcome, "200");
    attempts[2]?.respond(503, [...shed]);
    t.equal(waiting.reply.outcome, "503", "batch does not spend what others may need");
    attempts[4]?.respond(200);
    t.equal(later.reply.outcome, "200", "those who came after the push stand in the same queue");
    for (let i = 0; i < 40; i++) {
      post("default");
      attempts.at(-1)?.respond(503, [...shed]);
      clock.advance(300);
      attempts.at(-1)?.respond(503, [...shed]);
    }
    t.same(events, [], "an endpoint that has enough is not ejected");
    t.equal(active(), 0);
  },
);

const breaker = { ...serviceBreakerDefaults, jitterRatio: 0, windowMs: 60_000 };

t.test("service breaker: a request with its retries counts once; a push leaves it as it is", async (t) => {
  const { clock, plane, attempts, events, send, rejected } = setup();
  const first = withRoutes(withCluster(snapshotTo([1, 2, 3]), { serviceBreaker: breaker }), retrying);
  plane.apply({ ...first, version: "1" });
  const ofService = (): string[] => events.filter((event) => event.startsWith("service"));
  const respond = (status: number): void => {
    for (let before = -1; before !== attempts.length; clock.advance(300)) {
      before = attempts.length;
      const attempt = attempts.at(-1) as ScriptedAttempt;
      if (!attempt.isEnded) attempt.respond(status);
    }
  };
  for (let i = 0; i < 19; i++) {
    send();
    respond(503);
  }
  const [cluster] = plane.clusters();
  t.match(cluster?.breakers.service?.describe(), { requests: 19, failures: 19 });
  t.ok(attempts.length > 30, `${attempts.length} attempts`);
  send();
  respond(503);
  t.same(ofService(), ["service closed -> open: failure-ratio"]);
  const sent = attempts.length;
  t.equal(send().request.error?.code, "circuit_open");
  t.equal(attempts.length, sent, "no attempt is made");
  t.equal(rejected.value, 1);

  plane.apply({ ...withCluster(first, { serviceBreaker: breaker, maxRequests: 7 }), version: "2" });
  plane.apply({ ...withRoutes(first, { timeoutMs: 5000 }), version: "3" });
  t.equal(send().request.error?.code, "circuit_open", "routes and limits are not its concern");
  plane.apply({ ...withCluster(first, { serviceBreaker: { ...breaker, openMs: 60_000 } }), version: "4" });
  t.equal(
    send().request.error?.code,
    "circuit_open",
    "nor is its own change: the opening ends when it would have",
  );
  clock.advance(5000);
  for (let i = 0; i < 5; i++) {
    send();
    respond(200);
  }
  t.same(ofService().slice(1), [
    "service open -> half-open: open-time-over",
    "service half-open -> closed: probes-succeeded",
  ]);
  const { serviceBreaker, ...without } = first.clusters[0] as ClusterConfig;
  t.ok(serviceBreaker);
  plane.apply({ ...first, clusters: [without], version: "5" });
  t.equal(cluster?.guard, undefined, "gone with its section");
  for (let i = 0; i < 30; i++) {
    send();
    respond(500);
  }
  t.not(send().request.error?.code, "circuit_open");
});

t.test("operators: open, close, isolate and reset, each ends by itself", async (t) => {
  const { clock, plane, transports, attempts, events, send, endpoints } = setup();
  plane.apply(snapshotTo([1, 2], { version: "1" }));
  const drive = (action: BreakerCommand["action"], more: Partial<BreakerCommand> = {}) =>
    plane.driveBreakers("api.default", {
      ...{ action, endpoint: undefined, forMs: 60_000, isForced: false },
      ...more,
    });
  t.equal(
    plane.driveBreakers("ghost.default", { action: "open", endpoint: undefined, forMs: 1, isForced: false }),
    undefined,
  );

  t.match(drive("open"), { isDone: true, text: "api.default: held open for 1m" });
  t.match(send().request.error, {
    detail: /^service api\.default: held open by an operator for another 60\.0s$/,
  });
  plane.apply(snapshotTo([1, 2, 3], { version: "2" }));
  plane.apply(withRoutes(snapshotTo([1, 2, 3], { version: "3" }), { timeoutMs: 5000 }));
  t.equal(send().request.error?.code, "circuit_open", "it outlives pushes");
  clock.advance(60_100);
  send();
  attempts.at(-1)?.respond(200);
  t.equal(attempts.length, 1, "over by itself");
  t.same(events, [
    "service closed -> open: operator",
    "open service begun",
    "open service ended",
    "service open -> closed: operator",
  ]);

  // isolate
  const at = (port: number): string => `127.0.0.1:${port}`;
  t.match(drive("isolate"), { isDone: false, text: /--endpoint/ });
  t.match(drive("isolate", { endpoint: at(9) }), {
    isDone: false,
    text: /has no endpoint 127\.0\.0\.1:9; it has 127\.0\.0\.1:1, /,
  });
  t.match(drive("open", { endpoint: at(1) }), { isDone: false, text: /use remora breaker isolate/ });
  t.match(drive("isolate", { endpoint: at(1) }), { isDone: true });
  t.match(drive("isolate", { endpoint: at(2) }), { isDone: true });
  t.match(drive("isolate", { endpoint: at(3) }), {
    isDone: false,
    text: /the last one that takes traffic; with --force/,
  });
  const calls = (port: number): number =>
    transports.filter((each) => each.port === port).reduce((sum, each) => sum + each.attempts.length, 0);
  const before = [calls(1), calls(2)];
  for (let i = 0; i < 20; i++) {
    send();
    attempts.at(-1)?.respond(500);
  }
  t.same([calls(1), calls(2)], before, "nothing goes there, also not in panic");
  t.notOk(endpoints()[2]?.gate.isEjected, "and the last one is not ejected");
  plane.apply(snapshotTo([1, 3], { version: "4" }));
  plane.apply(snapshotTo([1, 2, 3], { version: "5" }));
  t.match(drive("isolate", { endpoint: at(3), isForced: true }), { isDone: true });
  t.match(send().request.error, {
    detail: "cluster api.default: no endpoint available, 0 of 3 ejected, 3 isolated by an operator",
  });
  t.match(drive("close", { endpoint: at(3) }), { isDone: true });
  send();
  t.equal(attempts.at(-1)?.isEnded, false, "3 is back");
  attempts.at(-1)?.respond(200);
  clock.advance(60_100);
  for (let i = 0; i < 60; i++) {
    send();
    clock.advance(5);
    attempts.at(-1)?.respond(200);
  }
  t.ok(calls(1) > (before[0] ?? 0) && calls(2) > (before[1] ?? 0), "all are back");

  // A past latency must not keep idle what takes requests again.
  const second = endpoints()[1];
  if (second !== undefined) {
    const slow = { latencyMs: 60_000, latencyAtMs: clock.monotonicMs() };
    Object.assign(second, slow);
    drive("isolate", { endpoint: at(2), forMs: 1000 });
    t.equal(second.latencyMs, slow.latencyMs);
    clock.advance(1100);
    t.equal(second.latencyMs, 0, "after an isolation");
    Object.assign(second, slow);
    drive("reset", { endpoint: at(2) });
    t.equal(second.latencyMs, 0, "after a reset");
  }

  // close
  const fail = (): void => {
    for (let i = 0; i < 60; i++) {
      send();
      attempts.at(-1)?.fail("upstream_reset");
    }
  };
  fail();
  t.equal(endpoints().filter(({ gate }) => gate.isEjected).length, 1);
  t.match(drive("close"), { isDone: true });
  t.equal(endpoints().filter(({ gate }) => gate.isEjected).length, 0, "lifted");
  fail();
  t.equal(endpoints().filter(({ gate }) => gate.isEjected).length, 0, "held");
  clock.advance(60_100);
  fail();
  t.equal(endpoints().filter(({ gate }) => gate.isEjected).length, 1, "over");
  drive("isolate", { endpoint: at(1), isForced: true });
  drive("open");
  t.match(drive("reset"), { isDone: true });
  t.equal(endpoints().filter(({ gate }) => gate.isEjected).length, 0);
  send();
  t.equal(attempts.at(-1)?.isEnded, false, "everything is closed again");
  attempts.at(-1)?.respond(200);

  // What a cluster leaves behind when it goes.
  drive("isolate", { endpoint: at(1) });
  plane.apply({ ...snapshotTo([], { version: "6" }), clusters: [], virtualHosts: [], endpoints: new Map() });
  clock.advance(120_000);
  t.equal(clock.pendingTimers, 0, "no timer");
});
