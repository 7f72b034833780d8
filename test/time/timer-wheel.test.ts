import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import t from "tap";
import type { Clock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { FakeClock } from "../support/fake-clock.js";

/** A target that notes when it fired. */
function probe(clock: Clock, log: number[]): { onTimer(): void } {
  return { onTimer: () => void log.push(clock.monotonicMs()) };
}

t.test("fires never early and at most one tick late", async (t) => {
  const delays = fc.array(fc.double({ min: 0, max: 20_000, noNaN: true }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(delays, fc.double({ min: 0, max: 9.9, noNaN: true }), (delaysMs, startMs) => {
      const clock = new FakeClock();
      const wheel = new TimerWheel(clock);
      clock.advance(startMs);
      const fired = delaysMs.map((delayMs) => {
        const log: number[] = [];
        wheel.add(delayMs, probe(clock, log));
        return { delayMs, log };
      });
      clock.advance(21_000);
      return fired.every(({ delayMs, log }) => {
        const lateMs = (log[0] ?? NaN) - (startMs + delayMs);
        // Whole-millisecond clock timers may add one to the tick.
        return log.length === 1 && lateMs > -1e-6 && lateMs <= 11;
      });
    }),
  );
  t.pass("property held");
});

t.test("cancel and restart", async (t) => {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const log: number[] = [];
  const cancelled = wheel.add(100, probe(clock, log));
  cancelled.cancel();
  cancelled.cancel();
  const idle = wheel.add(100, probe(clock, log));
  clock.advance(90);
  idle.restart(100);
  clock.advance(90);
  t.same(log, [], "neither the cancelled nor the restarted one");
  clock.advance(20);
  t.same(log, [190]);
  idle.restart(50);
  clock.advance(1000);
  t.same(log, [190, 250], "a fired timer can be started again");
});

t.test("runs only while it has entries, and sleeps through empty slots", async (t) => {
  const clock = new FakeClock();
  let timers = 0;
  const counting: Clock = {
    wallMs: () => clock.wallMs(),
    monotonicMs: () => clock.monotonicMs(),
    random: () => 0,
    timer: (delayMs, fn) => {
      timers++;
      return clock.timer(delayMs, fn);
    },
  };
  const wheel = new TimerWheel(counting);
  const log: number[] = [];
  wheel.add(3000, probe(clock, log));
  clock.advance(4000);
  t.same(log, [3000]);
  t.equal(timers, 1, "one wake-up for 3 s");
  t.equal(clock.pendingTimers, 0);
  wheel.add(10, probe(clock, log)).cancel();
  clock.advance(60_000);
  t.equal(clock.pendingTimers, 0, "stops once it finds nothing");
  wheel.add(60_000, probe(clock, log));
  wheel.add(20, probe(clock, log));
  clock.advance(30);
  t.equal(log.length, 2, "a nearer timer wakes it sooner");
  clock.advance(60_000);
  t.equal(log.length, 3);
});

t.test("targets may add and cancel; one that throws does not hold up the others", async (t) => {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  const log: string[] = [];
  wheel.add(10, {
    onTimer: () => {
      log.push("first");
      victim.cancel();
      wheel.add(0, { onTimer: () => void log.push("nested") });
    },
  });
  const victim = wheel.add(10, { onTimer: () => void log.push("victim") });
  clock.advance(30);
  t.same(log, ["first", "nested"]);
  wheel.add(10, {
    onTimer: () => {
      throw new Error("broken target");
    },
  });
  wheel.add(10, { onTimer: () => void log.push("other") });
  t.throws(() => clock.advance(50), /broken target/);
  clock.advance(50);
  t.same(log, ["first", "nested", "other"]);
});

t.test("after a stall the sockets are read first: a reply in time wins", async (t) => {
  const clock = new FakeClock();
  let stalledMs = 0;
  const stalling: Clock = {
    wallMs: () => clock.wallMs(),
    monotonicMs: () => clock.monotonicMs() + stalledMs,
    random: () => 0,
    timer: (delayMs, fn) => clock.timer(delayMs, fn),
  };
  const wheel = new TimerWheel(stalling);
  const log: number[] = [];
  const answered = wheel.add(100, probe(stalling, log));
  wheel.add(100, probe(stalling, log));
  stalledMs = 2000; // the loop stood still while both fell due
  clock.advance(100);
  t.same(log, [], "nothing fires in the turn of the late wake-up");
  answered.cancel(); // what reading the reply does
  await turn();
  t.same(log, [2100], "the other one fires a turn later");
});
