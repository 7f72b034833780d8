/** When a sidecar learns that its own certificate has come to its end. */
import t from "tap";
import { watchOwnExpiry } from "../../src/identity/own-expiry.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { FakeClock } from "../support/fake-clock.js";

const hourMs = 3_600_000;

function watched(leftMs: number | undefined) {
  const clock = new FakeClock();
  const until = (ms: number): Svid => ({ notAfterMs: clock.wallMs() + ms }) as Svid;
  const source = new LatestValue<Svid | undefined>(leftMs === undefined ? undefined : until(leftMs));
  let ends = 0;
  const stop = watchOwnExpiry(source, clock, () => void ends++);
  return { clock, source, until, stop, ends: () => ends };
}

t.test("told at the end and not before, once", async (t) => {
  const { clock, stop, ends } = watched(24 * hourMs);
  clock.advance(24 * hourMs - 1);
  t.equal(ends(), 0);
  clock.advance(1);
  t.equal(ends(), 1);
  clock.advance(48 * hourMs);
  t.equal(ends(), 1);
  stop();
  t.equal(clock.pendingTimers, 0);
});

t.test("a renewal in time is no end, and the newer one's end is told", async (t) => {
  const { clock, source, until, stop, ends } = watched(hourMs);
  clock.advance(hourMs / 2);
  source.set(until(2 * hourMs));
  clock.advance(hourMs);
  t.equal(ends(), 0);
  clock.advance(hourMs);
  t.equal(ends(), 1);
  source.set(until(hourMs));
  clock.advance(hourMs);
  t.equal(ends(), 2);
  stop();
});

t.test(
  "a machine that slept past the end is told within a minute; without a certificate nothing ends",
  async (t) => {
    const { clock, stop, ends } = watched(24 * hourMs);
    const wallMs = clock.wallMs.bind(clock);
    clock.wallMs = () => wallMs() + 48 * hourMs;
    clock.advance(60_000);
    t.equal(ends(), 1);
    stop();
    const none = watched(undefined);
    none.clock.advance(hourMs);
    t.same([none.ends(), none.clock.pendingTimers], [0, 0]);
    none.stop();
  },
);
