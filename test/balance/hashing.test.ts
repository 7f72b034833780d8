import fc from "fast-check";
import t from "tap";
import { hashedName } from "../../src/balance/hashed-place.js";
import { buildMaglev } from "../../src/balance/maglev.js";
import { makePicker } from "../../src/balance/picker.js";
import { zoneAware } from "../../src/balance/zone-aware.js";
import { buildRing } from "../../src/balance/ring-hash.js";
import {
  maxMaglevTableSize,
  maxRingSize,
  type LoadBalancerConfig,
} from "../../src/config/load-balancer-config.js";
import { xxHash64, type Hash64 } from "../../src/stack/xx-hash64.js";
import { Counter } from "../../src/telemetry/cells.js";
import { endpointConfig, ScriptedEndpoint } from "../support/scripted-endpoint.js";
import { seeded } from "../support/seeded-random.js";
import { referenceXxHash64 } from "../support/xx-hash64-reference.js";

const key = (value: bigint | number): Hash64 => ({
  hi: Number(BigInt(value) >> 32n),
  lo: Number(BigInt(value) & 0xffffffffn),
});
const number = ({ hi, lo }: Hash64): bigint => (BigInt(hi) << 32n) | BigInt(lo);
const largest = 2n ** 64n - 1n;

/** 127.0.0.1 with these ports, as in Envoy's tests; the key of an endpoint is its index. */
function hosts(ports: readonly number[], weights: readonly number[] = []): ScriptedEndpoint[] {
  return ports.map(
    (port, i) =>
      new ScriptedEndpoint(
        String(i),
        endpointConfig(i, { address: "127.0.0.1", port, weight: weights[i] ?? 1 }),
      ),
  );
}
const six = [90, 91, 92, 93, 94, 95];

function pickerOver(
  endpoints: readonly ScriptedEndpoint[],
  change: Partial<LoadBalancerConfig>,
  panicPercent = 50,
) {
  const panics = new Counter();
  const loadBalancer = { policy: "ring_hash" as const, panicThresholdPercent: panicPercent, ...change };
  const panic = { thresholdPercent: panicPercent, panics };
  return { panics, picker: makePicker(endpoints, { loadBalancer, panic, random: seeded(1) }) };
}

const ringOf = (minimumRingSize: number, maximumRingSize = maxRingSize): Partial<LoadBalancerConfig> => ({
  policy: "ring_hash",
  ringHash: { minimumRingSize, maximumRingSize },
});
const tableOf = (maglevTableSize: number): Partial<LoadBalancerConfig> => ({
  policy: "maglev",
  maglevTableSize,
});

t.test("XXH64: published values, Envoy's values, and the specification on anything", async (t) => {
  // https://github.com/Cyan4973/xxHash; and Envoy test/common/common/hash_test.cc.
  for (const [text, expected] of [
    ["", 0xef46db3751d8e999n],
    ["a", 0xd24ec4f1a98c6e5bn],
    ["abc", 0x44bc2cf5ad770999n],
    ["foo", 3728699739546630719n],
    ["bar", 5234164152756840025n],
    ["foo\nbar", 8917841378505826757n],
    ["lyft", 4400747396090729504n],
  ] as const) {
    t.equal(number(xxHash64(text)), expected, JSON.stringify(text));
  }
  t.equal(number(xxHash64("bar", xxHash64("foo"))), 17745830980996999794n, "a list: each seeds the next");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 150 }), fc.bigInt(0n, largest), (bytes, seed) => {
      const input = Buffer.from(bytes);
      return number(xxHash64(input.toString("latin1"), key(seed))) === referenceXxHash64(input, seed);
    }),
  );
});

// The expected values of the next two tests: Envoy test/extensions/load_balancing_policies/ring_hash/ring_hash_lb_test.cc.
t.test("ring hash: the ring of Envoy", async (t) => {
  const places = (endpoints: readonly ScriptedEndpoint[], size: [number, number]): [bigint, number][] => {
    const ring = buildRing(endpoints, { minimumRingSize: size[0], maximumRingSize: size[1] });
    return [...ring.owner].map((owner, i) => [
      number({ hi: ring.hi[i] ?? 0, lo: ring.lo[i] ?? 0 }),
      endpoints[owner]?.config.port ?? 0,
    ]);
  };
  t.same(
    places(hosts(six), [12, maxRingSize]),
    [
      [833437586790550860n, 94],
      [928266305478181108n, 92],
      [1033482794131418490n, 90],
      [3551244743356806947n, 95],
      [3851675632748031481n, 93],
      [5583722120771150861n, 91],
      [6311230543546372928n, 91],
      [7700377290971790572n, 93],
      [13144177310400110813n, 95],
      [13444792449719432967n, 92],
      [15516499411664133160n, 94],
      [16117243373044804889n, 90],
    ],
    "Basic",
  );
  t.same(
    places(hosts([80, 81]), [3, maxRingSize]),
    [
      [5454692015285649509n, 80],
      [7859399908942313493n, 81],
      [13838424394637650569n, 80],
      [16064866803292627174n, 81],
    ],
    "UnevenHosts",
  );
  t.same(
    places(hosts([81, 82]), [3, maxRingSize]),
    [
      [7859399908942313493n, 81],
      [8241336090459785962n, 82],
      [12882406409176325258n, 82],
      [16064866803292627174n, 81],
    ],
    "UnevenHosts, changed",
  );
  t.same(
    places(hosts([90, 91, 92], [1, 2, 3]), [6, 6]),
    [
      [928266305478181108n, 92],
      [4443673547860492590n, 92],
      [5583722120771150861n, 91],
      [6311230543546372928n, 91],
      [13444792449719432967n, 92],
      [16117243373044804889n, 90],
    ],
    "HostWeightedTinyRing",
  );
  const counted = (
    endpoints: readonly ScriptedEndpoint[],
    size: [number, number],
    keys: number,
  ): number[] => {
    const { picker } = pickerOver(endpoints, ringOf(...size));
    const counts = endpoints.map(() => 0);
    for (let i = 0n; i < keys; i++) {
      const picked = picker.pick([], 0, key(i * (largest / BigInt(keys))));
      (counts[Number(picked?.key)] as number)++;
    }
    return counts;
  };
  const weighted = hosts([90, 91, 92], [1, 2, 3]);
  t.same(counted(weighted, [6144, maxRingSize], 6000), [987, 1932, 3081], "HostWeightedLargeRing");
  t.equal(places(weighted, [6144, maxRingSize]).length, 6144);
  t.same(counted(hosts([90, 91]), [1023, 1023], 1023), [526, 497], "LargeFractionalScale");
  const sparse = counted(hosts([90, 91, 92, 93]), [2, 2], 1024);
  t.equal(sparse.filter((count) => count === 0).length, 2, "SmallFractionalScale");
});

t.test("ring hash: picks as Envoy does", async (t) => {
  const endpoints = hosts(six);
  const { picker, panics } = pickerOver(endpoints, ringOf(12));
  for (const [hash, expected] of [
    [0n, 4],
    [largest, 4],
    [3551244743356806947n, 5],
    [3551244743356806948n, 3],
    [16117243373044804880n, 0],
  ] as const) {
    t.equal(picker.pick([], 0, key(hash))?.key, String(expected), `${hash}`);
  }
  const at = (indexes: readonly number[]): ScriptedEndpoint[] =>
    indexes.map((i) => endpoints[i] as ScriptedEndpoint);
  t.equal(
    picker.pick(at([4]), 0, key(0))?.key,
    "2",
    "BasicWithRetryHostPredicate: a tried one makes way for the next",
  );
  t.equal(picker.pick(at([4, 2]), 0, key(0))?.key, "0");
  (endpoints[4] as ScriptedEndpoint).isOpen = false;
  t.equal(picker.pick([], 0, key(0))?.key, "2", "an ejected one too");
  t.equal(panics.value, 0);
  for (const endpoint of endpoints) endpoint.isOpen = false;
  t.equal(picker.pick([], 0, key(0))?.key, "4", "in panic as if all were well");
  t.equal(panics.value, 1);
});

// Envoy test/extensions/load_balancing_policies/maglev/maglev_lb_test.cc.
t.test("maglev: the table and the picks of Envoy", async (t) => {
  const basic = [2, 4, 0, 1, 5, 0, 3];
  const table = (endpoints: readonly ScriptedEndpoint[], size: number): number[] =>
    [...buildMaglev(endpoints, size).owner].map((owner) => Number(endpoints[owner]?.key));
  const endpoints = hosts(six);
  t.same(table(endpoints, 7), basic, "Basic");
  t.same(
    table(
      [3, 5, 0, 2, 4, 1].map((i) => endpoints[i] as ScriptedEndpoint),
      7,
    ),
    basic,
    "BasicStability",
  );
  t.same(table(hosts([90]), 7), [0, 0, 0, 0, 0, 0, 0], "SingleHost");
  t.same(table(hosts([90, 91], [1, 2]), 17), [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1], "Weighted");
  const { picker } = pickerOver(endpoints, tableOf(7));
  for (let i = 0; i < 21; i++) t.equal(picker.pick([], 0, key(i))?.key, String(basic[i % 7]), `key ${i}`);
  const at = (indexes: readonly number[]): ScriptedEndpoint[] =>
    indexes.map((i) => endpoints[i] as ScriptedEndpoint);
  t.equal(picker.pick(at([1]), 0, key(10))?.key, "0", "BasicWithRetryHostPredicate: a second attempt");
  t.equal(picker.pick(at([1, 0]), 0, key(10))?.key, "5", "a third");
  t.equal(picker.pick(at([0, 1, 2, 3, 5]), 0, key(10))?.key, "4", "the last that is left is found");
});

t.test("an address is hashed as Envoy writes it", async (t) => {
  const name = (address: string): string =>
    hashedName(new ScriptedEndpoint("", endpointConfig(0, { address, port: 90 })));
  t.same([name("10.0.0.1"), name("2001:db8::7")], ["10.0.0.1:90", "[2001:db8::7]:90"]);
});

/** Where each of many keys goes. */
function assignments(endpoints: readonly ScriptedEndpoint[], change: Partial<LoadBalancerConfig>): string[] {
  const { picker } = pickerOver(endpoints, change);
  return Array.from(
    { length: 4000 },
    (_, i) => picker.pick([], 0, xxHash64(`user-${i}`))?.config.instance ?? "",
  );
}

t.test("one endpoint of N more or less moves its own keys and few others", async (t) => {
  // Of a Maglev table a few keys of others move (paper, §5.3). Of Envoy's ring up to another 1/N: the number of places of each
  // endpoint follows the number of endpoints.
  for (const [change, most] of [
    [ringOf(16_384), 2.4],
    [tableOf(65_537), 1.4],
  ] as const) {
    fc.assert(
      fc.property(fc.integer({ min: 3, max: 20 }), fc.nat(), (count, chosen) => {
        const all = Array.from(
          { length: count },
          (_, i) => new ScriptedEndpoint(String(i), endpointConfig(i + 1)),
        );
        const gone = all[chosen % count] as ScriptedEndpoint;
        const before = assignments(all, change);
        const after = assignments(
          all.filter((endpoint) => endpoint !== gone),
          change,
        );
        const share = before.length / count;
        const moved = before.filter((instance, i) => instance !== after[i]).length;
        const own = before.filter((instance) => instance === gone.config.instance).length;
        return own > share * 0.7 && own < share * 1.3 && moved >= own && moved < share * most;
      }),
      { numRuns: 10 },
    );
  }
  t.pass();
});

t.test("keys come back to an endpoint that was away, and to no other", async (t) => {
  for (const change of [ringOf(1024), tableOf(65_537)]) {
    const endpoints = hosts(six);
    const { picker } = pickerOver(endpoints, change);
    const all = (): (string | undefined)[] =>
      Array.from({ length: 500 }, (_, i) => picker.pick([], 0, xxHash64(`user-${i}`))?.key);
    const before = all();
    (endpoints[2] as ScriptedEndpoint).isOpen = false;
    const during = all();
    t.notOk(during.includes("2"));
    t.ok(
      before.every((owner, i) => owner === "2" || owner === during[i]),
      "only its own keys moved",
    );
    t.ok(new Set(during.filter((_, i) => before[i] === "2")).size > 2, "to several others");
    (endpoints[2] as ScriptedEndpoint).isOpen = true;
    t.same(all(), before);
  }
});

t.test("slow start: keys move to a new endpoint one by one, and stay", async (t) => {
  for (const change of [ringOf(1024), tableOf(65_537)]) {
    const endpoints = hosts(six);
    const { picker } = pickerOver(endpoints, { ...change, slowStartMs: 10_000 });
    (endpoints[0] as ScriptedEndpoint).warmingSinceMs = 0;
    const ownersAt = (nowMs: number): Set<number> =>
      new Set(
        Array.from({ length: 3000 }, (_, i) => i).filter(
          (i) => picker.pick([], nowMs, xxHash64(`user-${i}`))?.key === "0",
        ),
      );
    const whole = ownersAt(10_000).size;
    let before = new Set<number>();
    for (const [nowMs, share] of [
      [0, 0.1],
      [2500, 0.25],
      [5000, 0.5],
      [9000, 0.9],
    ] as const) {
      const now = ownersAt(nowMs);
      t.ok(Math.abs(now.size / whole - share) < 0.08, `${nowMs} ms: ${now.size} of ${whole}`);
      t.ok(
        [...before].every((user) => now.has(user)),
        "none went back",
      );
      before = now;
    }
  }
});

t.test("without a key any endpoint is picked", async (t) => {
  for (const change of [ringOf(4096), tableOf(65_537)]) {
    const endpoints = hosts(six);
    const { picker } = pickerOver(endpoints, change);
    const counts = endpoints.map(() => 0);
    for (let i = 0; i < 6000; i++) (counts[Number(picker.pick([], 0)?.key)] as number)++;
    for (const count of counts) t.ok(count > 850 && count < 1150, counts.join(" "));
  }
});

t.test("a thousand endpoints do not hold up the loop", async (t) => {
  const endpoints = Array.from(
    { length: 1000 },
    (_, i) =>
      new ScriptedEndpoint(
        String(i),
        endpointConfig(i, { address: `10.0.${i >> 8}.${i & 255}`, weight: 1 + (i % 3) }),
      ),
  );
  for (const [name, build] of [
    ["default ring", () => buildRing(endpoints, { minimumRingSize: 1024, maximumRingSize: maxRingSize })],
    [
      "largest ring",
      () => buildRing(endpoints, { minimumRingSize: maxRingSize, maximumRingSize: maxRingSize }),
    ],
    ["default table", () => buildMaglev(endpoints, 65_537)],
    ["largest table", () => buildMaglev(endpoints, maxMaglevTableSize)],
  ] as const) {
    // Of the processor, not of the clock: what else runs on the machine is none of its doing.
    const times = Array.from({ length: 5 }, () => {
      const start = process.cpuUsage();
      build();
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1000;
    }).sort((a, b) => a - b);
    const typicalMs = times[2] ?? Infinity;
    t.ok(typicalMs < 100, `${name}: ${typicalMs.toFixed(1)} ms, at most ${times.at(-1)?.toFixed(1)} ms`);
  }
});

t.test("zones: what spills over spills by key", async (t) => {
  const endpoints = hosts(six);
  endpoints.forEach((endpoint, i) => (endpoint.config = { ...endpoint.config, zone: i < 3 ? "a" : "b" }));
  const panic = { thresholdPercent: 0, panics: new Counter() };
  const loadBalancer = { policy: "maglev" as const, panicThresholdPercent: 0 };
  const random = seeded(1);
  const picker = zoneAware(endpoints, {
    zone: "a",
    spilloverPercent: 70,
    panicThresholdPercent: 0,
    down: new Map([["a", 3]]),
    build: (part) => makePicker(part, { loadBalancer, panic, random }),
    picks: { own: new Counter(), other: new Counter() },
    random,
  });
  const owners = (): (string | undefined)[] =>
    Array.from({ length: 1000 }, (_, i) => picker.pick([], 0, xxHash64(`user-${i}`))?.key);
  const first = owners();
  t.same(owners(), first, "equal keys go to equal endpoints");
  const here = first.filter((owner) => Number(owner) < 3).length;
  t.ok(here > 650 && here < 780, `${here} of 1000 stay, 714 expected: half of the zone is down`);
});
