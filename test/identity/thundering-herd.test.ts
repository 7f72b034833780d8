/** Row 69: a thousand sidecars that were started together do not come back together. Statistics over the schedule itself. */
import t from "tap";
import { renewAtMs, retryDelayMs } from "../../src/identity/renewal-schedule.js";
import { startRenewal } from "../../src/identity/renewal.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { fullJitterMs } from "../../src/time/backoff.js";
import { FakeClock } from "../support/fake-clock.js";
import { seeded } from "../support/seeded-random.js";

const count = 1000;
const dayMs = 86_400_000;
const startMs = new FakeClock().wallMs();
/** Backdated as our CA does. */
const life = { notBeforeMs: startMs - 300_000, notAfterMs: startMs + dayMs };

/** How many fall into the fullest of `parts` equal parts of the range that all lie in. */
function fullest(values: readonly number[], from: number, to: number, parts: number): number {
  const counts = new Array<number>(parts).fill(0);
  for (const value of values) {
    if (value < from || value > to) throw new Error(`${value} is outside of ${from}-${to}`);
    const part = Math.min(parts - 1, Math.floor(((value - from) / (to - from)) * parts));
    counts[part] = (counts[part] ?? 0) + 1;
  }
  return Math.max(...counts);
}

t.test(
  "row 69: renewals of a thousand leaves of one second spread over a quarter of their life",
  async (t) => {
    const random = seeded(69);
    const times = Array.from({ length: count }, () => renewAtMs(life, random()) - startMs);
    // Issued at one time, of 24 h: six hours of renewals, in parts of fourteen minutes.
    t.ok(fullest(times, 0.5 * dayMs, 0.7501 * dayMs, 25) < 75, "no part has twice its share of 40");
  },
);

t.test("row 69: so do the repetitions when all of them fail", async (t) => {
  const random = seeded(70);
  const waits = Array.from({ length: count }, () => retryDelayMs(life, random()));
  t.ok(fullest(waits, 24_000, 36_000, 12) < 140, "30 s ± 20 %, about 83 in each second");
  const reconnects = Array.from({ length: count }, () =>
    fullJitterMs({ baseMs: 100, maxMs: 10_000 }, 20, random),
  );
  t.ok(fullest(reconnects, 0, 10_000, 10) < 150, "streams come back over all of the 10 s");
});

t.test(
  "row 69: a thousand renewal loops ask in their own time, over rounds of failure and success",
  async (t) => {
    const random = seeded(71);
    const clock = new FakeClock();
    clock.random = random;
    const asked: number[] = [];
    const loops = Array.from({ length: count }, () => {
      const source = new LatestValue<Svid | undefined>({
        ...{ id: "spiffe://m/ns/default/svc/web", serial: "1", keyPem: "", certChainPem: "", bundlePem: "" },
        ...life,
      });
      return startRenewal({
        source,
        clock,
        onEvent: () => undefined,
        renew: () => {
          asked.push(clock.wallMs());
          return Promise.reject(new Error("down"));
        },
      });
    });
    // Every minute of the day's third quarter.
    const perMinute: number[] = [];
    clock.advance(0.5 * dayMs);
    for (let minute = 0; minute < 360; minute++) {
      const before = asked.length;
      clock.advance(60_000);
      await new Promise((resolve) => setImmediate(resolve));
      perMinute.push(asked.length - before);
    }
    t.ok(asked.length > count, "they did ask, and again");
    // In the end all of them fail: twice a minute each, give or take what a minute cuts off.
    t.ok(Math.max(...perMinute) <= count * 3, `${Math.max(...perMinute)} in a minute`);
    const early = perMinute.slice(0, 10).reduce((sum, one) => sum + one, 0);
    t.ok(early < count, `${early} in the first ten minutes: not all at once`);
    for (const loop of loops) loop.close();
    t.equal(clock.pendingTimers, 0);
  },
);
