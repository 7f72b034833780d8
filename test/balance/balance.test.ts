import t from "tap";
import type { LoadBalancerConfig } from "../../src/config/load-balancer-config.js";
import { EndpointSet, type BalanceConfig } from "../../src/balance/endpoint-set.js";
import { isPanic } from "../../src/balance/panic.js";
import { cost, forget, observe, observeAtLeast, penalize } from "../../src/balance/peak-ewma.js";
import { makePicker, pickers } from "../../src/balance/picker.js";
import type { Picker } from "../../src/stack/endpoint.js";
import { Counter } from "../../src/telemetry/cells.js";
import { endpointConfig, ScriptedEndpoint } from "../support/scripted-endpoint.js";
import { seeded } from "../support/seeded-random.js";

type PolicyName = LoadBalancerConfig["policy"];
const policies = Object.keys(pickers) as PolicyName[];

function endpointsOf(weights: readonly number[]): ScriptedEndpoint[] {
  return weights.map((weight, i) => new ScriptedEndpoint(String(i), endpointConfig(i, { weight })));
}

function build(
  policy: PolicyName,
  endpoints: readonly ScriptedEndpoint[],
  thresholdPercent = 50,
  seed = 1,
  change: Partial<LoadBalancerConfig> = {},
) {
  const panics = new Counter();
  const loadBalancer = { policy, panicThresholdPercent: thresholdPercent, ...change };
  const picker = makePicker(endpoints, {
    loadBalancer,
    panic: { thresholdPercent, panics },
    random: seeded(seed),
  });
  return { panics, picker };
}

/** Picks per endpoint. */
function spread(
  picker: Picker<ScriptedEndpoint>,
  endpoints: readonly ScriptedEndpoint[],
  picks: number,
  each: (endpoint: ScriptedEndpoint, index: number) => void = () => {},
): number[] {
  const counts = endpoints.map(() => 0);
  for (let i = 0; i < picks; i++) {
    const picked = picker.pick([], i);
    if (picked === undefined) continue;
    (counts[endpoints.indexOf(picked)] as number)++;
    each(picked, i);
  }
  return counts;
}

const isNear = (value: number, expected: number, tolerance: number): boolean =>
  Math.abs(value - expected) <= expected * tolerance;

t.test("round robin: even, by weight, smooth, with a random start", async (t) => {
  const even = endpointsOf([1, 1, 1]);
  t.same(spread(build("round_robin", even).picker, even, 300), [100, 100, 100]);
  const weighted = endpointsOf([5, 1, 1]);
  const { picker } = build("round_robin", weighted);
  const sequence: string[] = [];
  const counts = spread(picker, weighted, 700, (endpoint) => sequence.push(endpoint.key));
  t.same(counts, [500, 100, 100]);
  t.notMatch(sequence.join(""), /0{6}/, "the heavy one is interleaved");
  const starts = new Set<string | undefined>();
  for (let seed = 0; seed < 50; seed++) {
    starts.add(build("round_robin", endpointsOf([1, 1, 1, 1]), 50, seed).picker.pick([], 0)?.key);
  }
  t.equal(starts.size, 4, "fifty sidecars do not all begin with the same endpoint");
});

t.test("peak EWMA: even among equals, by weight, away from the slow and the busy", async (t) => {
  const serve = (latencies: readonly number[], weights: readonly number[]): number[] => {
    const endpoints = endpointsOf(weights);
    return spread(build("peak_ewma", endpoints).picker, endpoints, 20_000, (endpoint, nowMs) =>
      observe(endpoint, latencies[Number(endpoint.key)] as number, nowMs),
    );
  };
  for (const count of serve([2, 2, 2, 2], [1, 1, 1, 1])) t.ok(isNear(count, 5000, 0.25), `even: ${count}`);
  const slow = serve([2, 2, 100], [1, 1, 1]);
  t.ok((slow[2] as number) < 200, `a slow endpoint gets little: ${slow.join(" ")}`);
  t.ok((slow[2] as number) > 0, "but is looked at");

  // Under load the requests under way do the balancing: 60 at once over weights 4, 1, 1.
  const endpoints = endpointsOf([4, 1, 1]);
  const { picker } = build("peak_ewma", endpoints);
  endpoints.forEach((endpoint) => observe(endpoint, 10, 0));
  for (let i = 0; i < 60; i++) (picker.pick([], 0) as ScriptedEndpoint).inflight++;
  t.ok(isNear(endpoints[0]?.inflight ?? 0, 40, 0.2), endpoints.map((each) => each.inflight).join(" "));
});

t.test("peak EWMA: estimate", async (t) => {
  const [endpoint, other] = endpointsOf([1, 1]) as [ScriptedEndpoint, ScriptedEndpoint];
  t.equal(cost(endpoint, 0), 0, "idle and never measured: one request may find out");
  endpoint.inflight = 1;
  t.equal(cost(endpoint, 0), 30, "busy and never measured: 30 ms");
  endpoint.inflight = 0;
  observe(endpoint, 10, 0);
  t.equal(cost(endpoint, 0), 10, "the first measure counts whole");
  observe(endpoint, 500, 1000);
  t.equal(cost(endpoint, 1000), 500, "a peak counts at once");
  observe(endpoint, 10, 11_000);
  t.equal(
    Math.round(cost(endpoint, 11_000)),
    Math.round(500 / Math.E + 10 * (1 - 1 / Math.E)),
    "and decays in 10 s",
  );
  endpoint.inflight = 3;
  t.equal(cost(endpoint, 11_000), endpoint.latencyMs * 4, "times what is under way");

  observe(other, 10, 0);
  observeAtLeast(other, 1, 0);
  t.equal(other.latencyMs, 10, "a fast failure does not make it look fast");
  observeAtLeast(other, 80, 0);
  t.equal(other.latencyMs, 80, "a slow one makes it look slow");
  penalize(other, 5000, 1000);
  observe(other, 1, 1500);
  t.equal(cost(other, 2000), 80 + 4000, "a penalty costs as much as waiting it out");
  t.equal(Math.round(cost(other, 6001)), 80, "and then it is over");
  forget(other);
  t.equal(cost(other, 6001), 0);
});

t.test("random and least request: even, and by weight", async (t) => {
  for (const policy of ["random", "least_request"] as const) {
    const even = endpointsOf([1, 1, 1, 1]);
    for (const count of spread(build(policy, even).picker, even, 8000))
      t.ok(isNear(count, 2000, 0.1), `${policy}: ${count}`);
    const weighted = endpointsOf([5, 2, 1]);
    const counts = spread(build(policy, weighted).picker, weighted, 8000);
    [5000, 2000, 1000].forEach((share, i) =>
      t.ok(isNear(counts[i] as number, share, 0.1), `${policy} by weight, idle: ${counts.join(" ")}`),
    );
  }
  // Under load too: 80 at once, none of them ends.
  const busy = endpointsOf([5, 2, 1]);
  const { picker } = build("least_request", busy);
  for (let i = 0; i < 80; i++) (picker.pick([], 0) as ScriptedEndpoint).inflight++;
  t.ok(isNear(busy[0]?.inflight ?? 0, 50, 0.15), busy.map((each) => each.inflight).join(" "));
});

t.test("least request: away from the busy, the more the more are compared", async (t) => {
  const shareOfBusy = (choiceCount: number): number => {
    const endpoints = endpointsOf([1, 1, 1, 1, 1]);
    (endpoints[0] as ScriptedEndpoint).inflight = 10;
    const { picker } = build("least_request", endpoints, 50, 1, { choiceCount });
    return (spread(picker, endpoints, 10_000)[0] as number) / 10_000;
  };
  t.equal(shareOfBusy(2), 0, "another one is always among two different ones");
  const endpoints = endpointsOf([1, 1, 1, 1, 1]);
  for (const i of [0, 1, 2, 3]) (endpoints[i] as ScriptedEndpoint).inflight = 10;
  const idle = (choiceCount: number): number =>
    spread(build("least_request", endpoints, 50, 1, { choiceCount }).picker, endpoints, 10_000)[4] as number;
  t.ok(isNear(idle(2), 4000, 0.1), `two of five: ${idle(2)}`);
  t.ok(isNear(idle(4), 6625, 0.1), `four draws, three beside the first: ${idle(4)}`);
});

t.test("slow start: a new endpoint gets no more than its ramp, whatever the policy", async (t) => {
  const slowStartMs = 30_000;
  for (const policy of ["peak_ewma", "least_request", "random", "round_robin"] as const) {
    for (const weights of [
      [1, 1, 1, 1],
      [2, 1, 1, 2],
    ]) {
      const endpoints = endpointsOf(weights);
      const cold = endpoints[3] as ScriptedEndpoint;
      const { picker } = build(policy, endpoints, 50, 7, { slowStartMs });
      // The others answer in 5 ms and have work; the new one is idle, not measured, and answers fast: it looks best of all.
      endpoints.slice(0, 3).forEach((endpoint) => {
        observe(endpoint, 5, 0);
        endpoint.inflight = 3 * endpoint.config.weight;
      });
      cold.warmingSinceMs = 0;
      const own = (weights[3] as number) / weights.reduce((sum, weight) => sum + weight, 0);
      for (const [nowMs, warm] of [
        [0, 0.1],
        [3000, 0.1],
        [15_000, 0.5],
        [27_000, 0.9],
      ] as const) {
        let picked = 0;
        for (let i = 0; i < 20_000; i++) if (picker.pick([], nowMs) === cold) picked++;
        // A part of its weight, while the others have all of theirs.
        const ramp = (own * warm) / (1 - own + own * warm);
        const isByWeight = policy !== "peak_ewma";
        const most = isByWeight ? ramp : (0.25 * warm) / (0.75 + 0.25 * warm);
        const text = `${policy} ${weights.join("")} after ${nowMs} ms: ${picked / 20_000} of ${most}`;
        t.ok(picked / 20_000 < most * 1.1, text);
        t.ok(picked / 20_000 > most * 0.85, `${text}, and no less`);
      }
    }
  }
});

t.test(
  "slow start: measured slow, it gets less; all new, they share; without a window, at once",
  async (t) => {
    const endpoints = endpointsOf([1, 1, 1]);
    const { picker } = build("peak_ewma", endpoints, 50, 3, { slowStartMs: 10_000 });
    endpoints.forEach((endpoint, i) => observe(endpoint, i === 0 ? 200 : 5, 5000));
    (endpoints[0] as ScriptedEndpoint).warmingSinceMs = 0;
    let slow = 0;
    for (let i = 0; i < 1000; i++) if (picker.pick([], 5000) === endpoints[0]) slow++;
    t.equal(slow, 0, "the estimate still counts");
    for (const endpoint of endpoints) endpoint.warmingSinceMs = 5000;
    for (const policy of policies) {
      const all = endpointsOf([1, 1, 1]);
      for (const endpoint of all) endpoint.warmingSinceMs = 0;
      const counts = spread(build(policy, all, 50, 3, { slowStartMs: 100_000 }).picker, all, 3000);
      for (const count of counts) t.ok(isNear(count, 1000, 0.25), `${policy}, all new: ${counts.join(" ")}`);
    }
  },
);

t.test("fallback: untried and open, tried and open, in panic any untried", async (t) => {
  const cases: [open: string, tried: number[], threshold: number, allowed: number[], isPanic: boolean][] = [
    ["111", [], 50, [0, 1, 2], false],
    ["110", [], 50, [0, 1], false],
    ["111", [0], 50, [1, 2], false],
    ["110", [0], 50, [1], false],
    ["110", [0, 1], 50, [0, 1], false],
    ["111", [0, 1, 2], 50, [0, 1, 2], false],
    ["100", [], 50, [0, 1, 2], true],
    ["100", [], 30, [0], false],
    ["100", [0], 30, [0], false],
    ["100", [0], 50, [1, 2], true],
    ["000", [], 50, [0, 1, 2], true],
    ["000", [0, 2], 50, [1], true],
    ["000", [0, 1, 2], 50, [0, 1, 2], true],
    ["000", [], 0, [], false],
    ["1", [0], 50, [0], false],
    ["", [], 50, [], false],
  ];
  for (const policy of policies) {
    for (const weights of [
      [1, 1, 1],
      [3, 1, 2],
    ]) {
      for (const [open, triedIndexes, threshold, allowed, panic] of cases) {
        const endpoints = endpointsOf(weights.slice(0, open.length));
        endpoints.forEach((endpoint, i) => (endpoint.isOpen = open[i] === "1"));
        const { picker, panics } = build(policy, endpoints, threshold);
        const tried = triedIndexes.map((i) => endpoints[i] as ScriptedEndpoint);
        const picked = new Set<string>();
        for (let i = 0; i < 60; i++) {
          const endpoint = picker.pick(tried, 0);
          if (endpoint !== undefined) {
            picked.add(endpoint.key);
            observe(endpoint, 10, 0);
          }
        }
        const name = `${policy} ${weights.join("")} open=${open} tried=${triedIndexes.join("")} at ${threshold} %`;
        t.same([...picked].sort(), allowed.map(String), name);
        t.equal(panics.value > 0, panic, `${name}: panic`);
      }
    }
  }
  t.ok(isPanic(0, 1, 50));
  t.notOk(isPanic(1, 2, 50), "half is not below half");
  t.notOk(isPanic(0, 0, 50));
});

t.test("one ejected of many: its share goes to the others, and comes back", async (t) => {
  for (const policy of policies) {
    const endpoints = endpointsOf([1, 1, 1, 1, 1]);
    const { picker, panics } = build(policy, endpoints);
    const answer = (endpoint: ScriptedEndpoint, nowMs: number): void => observe(endpoint, 5, nowMs);
    (endpoints[2] as ScriptedEndpoint).isOpen = false;
    const counts = spread(picker, endpoints, 5000, answer);
    t.equal(counts[2], 0, policy);
    for (const i of [0, 1, 3, 4]) t.ok((counts[i] as number) > 500, `${policy}: ${counts.join(" ")}`);
    (endpoints[2] as ScriptedEndpoint).isOpen = true;
    forget(endpoints[2] as ScriptedEndpoint);
    const after = spread(picker, endpoints, 5000, answer);
    t.ok((after[2] as number) > 500, `${policy} after: ${after.join(" ")}`);
    t.equal(panics.value, 0);
  }
});

t.test("endpoint set: keeps what stays, makes what is new, retires what left", async (t) => {
  const created: ScriptedEndpoint[] = [];
  const balance: BalanceConfig = {
    loadBalancer: { policy: "round_robin", panicThresholdPercent: 50 },
    mtlsMode: "PERMISSIVE",
  };
  const set = new EndpointSet<ScriptedEndpoint>(balance, {
    create: (key, config) => {
      const endpoint = new ScriptedEndpoint(key, config);
      created.push(endpoint);
      return endpoint;
    },
    clock: { random: seeded(1), monotonicMs: () => 700 },
    panics: new Counter(),
  });
  t.equal(set.picker.pick([], 0), undefined, "empty at first");
  t.ok(set.update([endpointConfig(1), endpointConfig(2), endpointConfig(1, { weight: 9 })]));
  t.same([set.total, set.healthy(0), created.length], [2, 2, 2], "a doubled address is one endpoint");
  t.equal(created[0]?.key, "10.0.0.1:8443:meshed");

  const { picker } = set;
  t.notOk(
    set.update([endpointConfig(1, { meta: { v: "2" } }), endpointConfig(2)]),
    "meta does not matter to picks",
  );
  t.equal(set.picker, picker);
  t.same(created[0]?.config.meta, { v: "2" }, "but is taken over");
  t.ok(set.update([endpointConfig(1, { weight: 3 }), endpointConfig(2)]), "a weight does");
  t.not(set.picker, picker);

  t.ok(set.update([endpointConfig(2), endpointConfig(3)]));
  t.same(
    set.endpoints.map((endpoint) => endpoint.key),
    ["10.0.0.2:8443:meshed", "10.0.0.3:8443:meshed"],
  );
  t.equal(set.endpoints[0], created[1], "the same object");
  t.same(
    created.map((endpoint) => endpoint.transport.ended),
    ["retired", "", ""],
  );

  const mixed = [endpointConfig(2), endpointConfig(3, { meshed: false })];
  t.ok(set.update(mixed));
  t.same(
    created.map((endpoint) => endpoint.transport.ended),
    ["retired", "", "retired", ""],
    "plain is another endpoint",
  );
  t.ok(set.update(mixed, { ...balance, mtlsMode: "STRICT" }));
  t.same([set.total, set.refused, set.mtlsMode], [1, 1, "STRICT"]);
  t.ok(set.update(mixed, { ...balance, loadBalancer: { policy: "peak_ewma", panicThresholdPercent: 50 } }));
  t.equal(set.endpoints[0], created[1], "another policy, the same endpoint");
  t.same(
    created.map((endpoint) => endpoint.warmingSinceMs),
    [-Infinity, -Infinity, 700, 700, 700],
    "who joins others warms up beside them; who comes first does not",
  );
  set.close();
  t.equal(created[1]?.transport.ended, "closed");
  t.equal(set.picker.pick([], 0), undefined);
});
