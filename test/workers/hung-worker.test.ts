import t from "tap";
import { watchForHang, type WatchedWorker } from "../../src/workers/hung-worker.js";
import { FakeClock } from "../support/fake-clock.js";

/** A worker that answers as `answers` says: milliseconds to each answer, none when there are no more. */
class ScriptedWorker implements WatchedWorker {
  state: WatchedWorker["state"] = "ready";
  asked = 0;
  readonly #clock: FakeClock;
  readonly #answers: readonly number[];

  constructor(clock: FakeClock, answers: readonly number[]) {
    this.#clock = clock;
    this.#answers = answers;
  }

  ask(_question: "alive", timeoutMs: number): Promise<true | undefined> {
    const afterMs = this.#answers[this.asked++] ?? Infinity;
    return new Promise((resolve) => {
      const timer = this.#clock.timer(timeoutMs, () => {
        if (this.state === "ready") this.state = "silent";
        resolve(undefined);
      });
      if (afterMs === Infinity) return;
      this.#clock.timer(afterMs, () => {
        timer.cancel();
        if (this.state === "silent") this.state = "ready";
        resolve(true);
      });
    });
  }
}

/** Lets time pass until the watch is over; gives its word and the seconds it took, or undefined when it goes on. */
async function watched(
  answers: readonly number[],
  at: ReadonlyMap<number, (worker: ScriptedWorker) => void> = new Map(),
): Promise<readonly [isFine: boolean, seconds: number] | undefined> {
  const clock = new FakeClock();
  const worker = new ScriptedWorker(clock, answers);
  let result: boolean | undefined;
  void watchForHang(worker, clock).then((isFine) => (result = isFine));
  for (let second = 1; second <= 60; second++) {
    clock.advance(1000);
    at.get(second)?.(worker);
    for (let i = 0; i < 5; i++) await Promise.resolve();
    if (result !== undefined) return [result, second];
  }
  return undefined;
}

t.test("a worker that says nothing has hung", async (t) => {
  t.same(await watched([]), [false, 7], "a second's rest, five of silence, a second look");
  t.same(await watched([10, 10, 10]), [false, 13], "after it was well for a while");
});

t.test("one that is slow, or stood still together with its primary, has not", async (t) => {
  const many = (ms: number): number[] => Array<number>(100).fill(ms);
  t.equal(await watched(many(10)), undefined);
  t.equal(await watched(many(4900)), undefined);
  t.equal(await watched(many(5500)), undefined, "its answer comes before the second look");
});

t.test("the watch ends with its worker", async (t) => {
  const dies = (worker: ScriptedWorker): void => void (worker.state = "gone");
  t.same(await watched([10, 10, 10, 10, 10], new Map([[3, dies]])), [true, 4]);
  t.same(await watched([], new Map([[4, dies]])), [true, 6], "while its answer is awaited");
});
