import fc from "fast-check";
import t from "tap";
import { EndpointSet } from "../../src/balance/endpoint-set.js";
import { localPercent, type ZoneHealth } from "../../src/balance/zone-split.js";
import type { EndpointConfig } from "../../src/config/snapshot.js";
import { Counter } from "../../src/telemetry/cells.js";
import { endpointConfig, ScriptedEndpoint } from "../support/scripted-endpoint.js";
import { seeded } from "../support/seeded-random.js";

/** Envoy's overprovisioning factor of 1.4. */
const envoySpillover = 100 / 1.4;
const percentOpen = (percent: number): ZoneHealth => ({ open: percent, total: 100 });

t.test("the share of the own zone is that of Envoy's first priority level", async (t) => {
  // Envoy, "Priority levels": healthy endpoints of P=0 and of P=1, traffic to P=0. Envoy cuts to whole percents.
  const table = [
    [100, 100, 100],
    [72, 100, 100],
    [71, 100, 99],
    [50, 100, 70],
    [25, 100, 35],
    [0, 100, 0],
    [72, 72, 100],
    [71, 71, 99],
    [50, 50, 70],
    [25, 100, 35],
    [25, 25, 50],
  ] as const;
  for (const [own, others, expected] of table) {
    const share = localPercent(percentOpen(own), percentOpen(others), envoySpillover);
    t.ok(Math.abs(share - expected) < 1, `${own} % here, ${others} % there: ${share} %`);
  }
});

t.test("spillover is exact at its bound, and 0 keeps all while one endpoint is left", async (t) => {
  const whole: ZoneHealth = { open: 3, total: 3 };
  const none: ZoneHealth = { open: 0, total: 0 };
  t.equal(localPercent({ open: 7, total: 10 }, whole, 70), 100);
  t.ok(localPercent({ open: 69, total: 100 }, whole, 70) < 100);
  t.equal(localPercent({ open: 1, total: 2 }, whole, 100), 50);
  t.equal(localPercent({ open: 1, total: 9 }, whole, 0), 100);
  t.equal(localPercent({ open: 0, total: 9 }, whole, 0), 0);
  t.equal(localPercent(none, whole, 70), 0, "no endpoint in the own zone");
  t.equal(localPercent({ open: 1, total: 10 }, none, 70), 100, "nobody else");
  t.equal(localPercent(none, none, 70), 0);
});

t.test("property: the share is a percentage, grows with the own zone and falls with the others", async () => {
  const zone = fc.nat(20).chain((total) => fc.record({ open: fc.nat(total), total: fc.constant(total) }));
  fc.assert(
    fc.property(zone, zone, fc.integer({ min: 0, max: 100 }), (own, others, spillover) => {
      const share = localPercent(own, others, spillover);
      if (!(share >= 0 && share <= 100)) return false;
      if (
        own.open < own.total &&
        localPercent({ ...own, open: own.open + 1 }, others, spillover) < share - 1e-9
      )
        return false;
      return (
        others.open === 0 ||
        localPercent(own, { ...others, open: others.open - 1 }, spillover) >= share - 1e-9
      );
    }),
  );
});

const zones = ["a", "b", "c"] as const;

/** Three endpoints in each of three zones, or what `configs` says. */
function threeZones(
  configs: readonly EndpointConfig[] = nine(),
  policy: "round_robin" | "peak_ewma" = "round_robin",
) {
  const picks = { own: new Counter(), other: new Counter() };
  const balance = {
    loadBalancer: { policy, panicThresholdPercent: 50 },
    locality: { spilloverPercent: 70 },
    mtlsMode: "STRICT" as const,
  };
  const set = new EndpointSet<ScriptedEndpoint>(balance, {
    create: (key, config) => new ScriptedEndpoint(key, config),
    clock: { random: seeded(7), monotonicMs: () => 0 },
    panics: new Counter(),
    zone: "a",
    zonePicks: () => picks,
  });
  set.update(configs);
  let nowMs = 0;
  /** Picks per zone, in thousandths. */
  const spread = (): Record<string, number> => {
    nowMs += 1000;
    const counts: Record<string, number> = { a: 0, b: 0, c: 0, none: 0 };
    for (let i = 0; i < 10_000; i++) {
      const zone = set.picker.pick([], nowMs)?.config.zone ?? "none";
      counts[zone] = (counts[zone] ?? 0) + 0.1;
    }
    return Object.fromEntries(Object.entries(counts).map(([zone, count]) => [zone, Math.round(count)]));
  };
  const shut = (zone: string, count: number): void => {
    const inZone = set.endpoints.filter(({ config }) => config.zone === zone);
    inZone.forEach((endpoint, index) => (endpoint.isOpen = index >= count));
  };
  return { set, balance, spread, shut, picks, at: () => nowMs };
}

function nine(): EndpointConfig[] {
  return Array.from({ length: 9 }, (_, i) => endpointConfig(i, { zone: zones[i % 3] ?? "" }));
}

const isNear = (value: number | undefined, expected: number): boolean =>
  Math.abs((value ?? NaN) - expected) <= 40;

for (const policy of ["round_robin", "peak_ewma"] as const) {
  t.test(
    `${policy}: the share moves to the other zones with each lost endpoint, and comes back`,
    async (t) => {
      const { spread, shut, picks } = threeZones(nine(), policy);
      t.match(spread(), { a: 1000 }, "all stays in the own zone");
      t.equal(picks.own.value, 10_000);
      shut("a", 1); // 67 % of 70 %
      t.ok(isNear(spread()["a"], 952));
      shut("a", 2);
      const { a, b, c } = spread();
      t.ok(isNear(a, 476), `${a} with one of three`);
      t.ok(isNear(b, 262) && isNear(c, 262), `the others evenly: ${b} and ${c}`);
      shut("a", 3);
      t.match(spread(), { a: 0, none: 0 });
      shut("b", 3);
      // Six of nine are shut: panic, for there is nobody to spill to.
      t.ok(isNear(spread()["a"], 333), "in panic every endpoint of every zone is used");
      shut("b", 0);
      shut("a", 0);
      t.match(spread(), { a: 1000 });
      t.ok(picks.other.value > 500);
    },
  );
}

t.test("in the own zone ejection is respected below the panic threshold of the zone", async (t) => {
  const { set, shut, at } = threeZones();
  shut("a", 2);
  for (let i = 0; i < 300; i++) {
    if (set.picker.pick([], at())?.isOpen !== true) t.fail("an ejected endpoint was picked");
  }
});

t.test("a retry leaves the zone rather than asking the same endpoint again", async (t) => {
  const { set } = threeZones([
    endpointConfig(0, { zone: "a" }),
    endpointConfig(1, { zone: "b" }),
    endpointConfig(2, { zone: "b" }),
  ]);
  const tried: ScriptedEndpoint[] = [];
  for (let i = 0; i < 3; i++) {
    const picked = set.picker.pick(tried, 0);
    if (picked !== undefined) tried.push(picked);
  }
  t.equal(tried[0]?.config.zone, "a");
  t.equal(new Set(tried).size, 3, "each once");
  t.equal(set.picker.pick(tried, 0)?.config.zone, "a", "with all tried, the own zone again");
});

t.test("an instance that the registry calls failing is missing in its zone and gets nothing", async (t) => {
  const failing = [0, 3].map((i) => endpointConfig(i, { zone: "a", isDown: true }));
  const { set, spread } = threeZones([...nine().filter((_, i) => i !== 0 && i !== 3), ...failing]);
  t.equal(set.total, 7);
  const { a } = spread();
  t.ok(isNear(a, 476), `${a} with one of three`);
  const [one] = set.endpoints;
  set.update(nine());
  t.match(spread(), { a: 1000 }, "it passes its checks again");
  t.ok(one !== undefined && set.endpoints.includes(one), "and nobody else was replaced");
});

t.test("without a zone of its own, or without the wish, zones do not matter", async (t) => {
  const { set, spread, balance } = threeZones();
  const { locality: ignored, ...plain } = balance;
  set.update(nine(), plain);
  const { a } = spread();
  t.ok(isNear(a, 333), `${a}`);
  set.update(nine(), balance);
  t.match(spread(), { a: 1000 });
  set.update(nine().map((config) => ({ ...config, zone: config.zone === "a" ? "d" : config.zone })));
  t.match(spread(), { a: 0, none: 0 }, "a zone that is moved is seen");
});
