/** Requests that find another cluster behind the one they were meant for, with endpoints played by the test. */
import t from "tap";
import { clusterDefaults } from "../../src/config/cluster-defaults.js";
import type { ClusterConfig, EndpointConfig, Snapshot } from "../../src/config/snapshot.js";
import { chooseMember, type FailoverMember } from "../../src/policy/failover.js";
import { RequestMemory } from "../../src/policy/request-memory.js";
import { DataPlane } from "../../src/proxy/data-plane.js";
import { outbound } from "../../src/proxy/outbound.js";
import type { Call } from "../../src/stack/service.js";
import type { Upstream } from "../../src/stack/upstream.js";
import { Counter } from "../../src/telemetry/cells.js";
import { ClusterMetricsByName } from "../../src/telemetry/cluster-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { exampleSnapshot } from "../support/example-snapshot.js";
import { FakeClock } from "../support/fake-clock.js";
import { endpointConfig, ScriptedTransport } from "../support/scripted-endpoint.js";
import { RecordedReply, scriptedRequest, type ScriptedAttempt } from "../support/scripted-service.js";
import { seeded } from "../support/seeded-random.js";
import { silentBreakers } from "../support/silent-breakers.js";

t.test("who gets an attempt", async (t) => {
  const tried = [{ key: "x", config: endpointConfig(1) }];
  /** Share of usable endpoints, and whether one of them is untried. */
  const member = (percent: number, hasUntried = percent > 0): FailoverMember => ({
    name: String(percent),
    service: new ScriptedTransport(),
    usablePercent: () => percent,
    hasUsable: (seen: readonly Upstream[]) => (seen === tried ? hasUntried : percent > 0),
  });
  const [well, half, dead, asked] = [member(100), member(40), member(0), member(100, false)];
  const table = [
    ["all is well", well, [well], 50, -1],
    ["below the threshold", half, [well], 50, 0],
    ["at the threshold", half, [well], 40, -1],
    ["no threshold, one endpoint left", half, [well], 0, -1],
    ["no threshold, none left", dead, [well], 0, 0],
    ["the next one when the first is dead, too", dead, [dead, half, well], 50, 1],
    ["every endpoint of the primary is tried", asked, [well], 50, 0],
    ["every endpoint everywhere is tried", asked, [asked], 50, -1],
    ["nobody can help", dead, [dead], 50, -1],
    ["little is left, and nobody can help", half, [dead], 50, -1],
  ] as const;
  for (const [what, primary, others, threshold, expected] of table)
    t.equal(chooseMember(primary, others, threshold, tried, 0), expected, what);
});

type Answer = (attempt: ScriptedAttempt) => void;
const ok: Answer = (attempt) => attempt.respond(200);
const refuse: Answer = (attempt) => attempt.fail("connect_failed");

/** `web` calls api, behind which stand backup and last; each answers as `answers` says at the time. */
function setup(change: Partial<ClusterConfig> = {}) {
  const clock = new FakeClock();
  clock.randoms = Array.from({ length: 5000 }, seeded(1));
  const wheel = new TimerWheel(clock);
  const metrics = new Metrics();
  const cells = new ClusterMetricsByName(metrics, "web");
  const answers: Record<string, Answer> = { "api.default": ok, "backup.default": ok, "last.default": ok };
  const seen: string[] = [];
  class Transport extends ScriptedTransport {
    readonly config: ClusterConfig;
    constructor(config: ClusterConfig) {
      super();
      this.config = config;
    }
    override call(...args: Parameters<ScriptedTransport["call"]>): Call {
      const call = super.call(...args);
      seen.push(`${this.config.name} ${this.config.identities[0]}`);
      answers[this.config.name]?.(this.last);
      return call;
    }
  }
  const plane = new DataPlane({
    clock,
    wheel,
    cluster: ({ name }) => {
      const of = () => cells.of(name, name);
      return {
        clock,
        wheel,
        metrics: of,
        meters: () => ({
          active: of().requestsActive,
          rejected: of().pendingOverflow,
          panics: of().panics,
          retries: of().retries,
          successes: of().retrySuccesses,
          overflows: of().retryBudgetDenied,
          exhausted: of().retriesExhausted,
        }),
        transport: (config) => new Transport(config),
        identity: "spiffe://mesh.local/ns/default/svc/web",
        onBreaker: () => undefined,
        breakers: silentBreakers(),
      };
    },
  });
  const example = exampleSnapshot({
    version: "1",
    services: ["api", "backup", "last"],
    endpointsPerService: 0,
  });
  const breaker = { ...clusterDefaults.breaker, maxEjectionPercent: 100 };
  const failover = { clusters: ["backup.default", "last.default"], thresholdPercent: 50 };
  const snapshot = (
    counts: Readonly<Record<string, number>>,
    version = JSON.stringify(counts),
  ): Snapshot => ({
    ...example,
    version,
    clusters: example.clusters.map((each) =>
      each.name === "api.default" ? { ...each, failover, breaker, ...change } : each,
    ),
    endpoints: new Map(
      Object.entries(counts).map(([name, count]) => [
        `${name}.default`,
        Array.from({ length: count }, (_, i): EndpointConfig =>
          endpointConfig(i, { port: name.length * 100 + i }),
        ),
      ]),
    ),
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
  const send = () => {
    const request = scriptedRequest({ startMs: clock.monotonicMs() });
    const reply = new RecordedReply();
    service.call(request, reply);
    clock.advance(300);
    return { request, reply, to: request.clusterName };
  };
  const endpointsOf = (name: string) =>
    [...plane.clusters()].find(({ config }) => config.name === name)?.endpoints ?? [];
  return { plane, send, snapshot, answers, seen, cells, clock, endpointsOf };
}

t.test("without an endpoint the service behind it answers, under its own name and identity", async (t) => {
  const { plane, send, snapshot, seen, cells } = setup();
  plane.apply(snapshot({ api: 1, backup: 1, last: 1 }));
  t.equal(send().to, "api.default");
  plane.apply(snapshot({ backup: 1, last: 1 }));
  const { reply, to } = send();
  t.equal(reply.outcome, "200");
  t.equal(to, "backup.default");
  t.equal(seen.at(-1), "backup.default spiffe://mesh.local/ns/default/svc/backup");
  plane.apply(snapshot({ last: 1 }));
  t.equal(send().to, "last.default");
  plane.apply(snapshot({}));
  const none = send();
  t.equal(none.reply.outcome, "503");
  t.equal(none.to, "api.default", "with nobody left the error is that of the service itself");
  plane.apply(snapshot({ api: 1, backup: 1, last: 1 }, "back"));
  t.equal(send().to, "api.default", "and it is asked again as soon as it is there");
  t.equal(cells.of("api.default", "api").failovers("backup.default").value, 1);
  t.equal(cells.of("api.default", "api").failovers("last.default").value, 1);
});

t.test("a retry reaches the service behind: no request fails when the only instance is dead", async (t) => {
  const { plane, send, snapshot, answers, seen } = setup();
  plane.apply(snapshot({ api: 1, backup: 1 }));
  answers["api.default"] = refuse;
  for (let i = 0; i < 20; i++) {
    const { reply, request } = send();
    t.equal(reply.outcome, "200");
    t.equal(request.clusterName, "backup.default");
  }
  t.ok(seen.filter((each) => each.startsWith("backup")).length >= 20);
});

t.test(
  "below the threshold all goes to the service behind, and a breaker's probes bring it back",
  async (t) => {
    const { plane, send, snapshot, answers, seen, endpointsOf } = setup();
    plane.apply(snapshot({ api: 2, backup: 1 }));
    answers["api.default"] = refuse;
    // One retry is not enough while neither of the two is ejected yet.
    for (let i = 0; i < 20; i++) send();
    for (let i = 0; i < 40; i++) t.equal(send().reply.outcome, "200");
    const ejected = endpointsOf("api.default").filter(({ gate }) => gate.isEjected).length;
    t.equal(ejected, 2, "with somebody behind them, all may be ejected");
    answers["api.default"] = ok;
    let returned = 0;
    for (let i = 0; i < 60; i++) if (send().to === "api.default") returned++;
    t.ok(returned > 50, `${returned} of 60 after its recovery`);
    t.match(seen.at(-1), /^api/);
  },
);

t.test("what is configured anew behind a service holds without a new route to it", async (t) => {
  const { plane, send, snapshot, seen } = setup();
  plane.apply(snapshot({ backup: 1 }, "1"));
  send();
  const next = snapshot({ backup: 1 }, "2");
  plane.apply({
    ...next,
    clusters: next.clusters.map((each) =>
      each.name === "backup.default"
        ? { ...each, identities: ["spiffe://mesh.local/ns/default/svc/new"] }
        : each,
    ),
  });
  t.equal(send().reply.outcome, "200");
  t.equal(seen.at(-1), "backup.default spiffe://mesh.local/ns/default/svc/new");
});

t.test(
  "two services behind each other in a hand-written folder end in an answer, not in a circle",
  async (t) => {
    const { plane, send, snapshot } = setup();
    const circle = snapshot({}, "1");
    plane.apply({
      ...circle,
      clusters: circle.clusters.map((each) =>
        each.name === "backup.default"
          ? { ...each, failover: { clusters: ["api.default"], thresholdPercent: 50 } }
          : each,
      ),
    });
    t.equal(send().reply.outcome, "503");
  },
);
