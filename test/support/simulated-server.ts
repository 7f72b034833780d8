/** A server that does so many requests at once, and a queue in front of it, in simulated time: nothing waits for a clock. */
import type { GradientLimit } from "../../src/policy/gradient-limit.js";

export interface SimulatedLoad {
  /** Requests that the server works on at once. */
  readonly capacity: number;
  /** Mean time of one; each takes between 0.5 and 1.5 times that. */
  readonly serviceMs: number;
  /** Requests per second that come, at random times; those over the limit go away. */
  readonly ratePerSecond: number;
}

export interface SimulatedRun {
  /** The limit at the end of each 100 ms. */
  readonly limits: readonly number[];
  readonly served: number;
  readonly refused: number;
  /** Mean time of those served. */
  readonly meanMs: number;
}

interface Job {
  readonly startMs: number;
  readonly activeAtStart: number;
}

const reportMs = 100;

/** Runs on through changes of the load: the server keeps its queue, the limit what it learned. */
export class SimulatedServer {
  nowMs = 0;
  readonly #limit: GradientLimit;
  readonly #random: () => number;
  readonly #queue: Job[] = [];
  /** Under work, with the time each ends. */
  #working: { readonly job: Job; readonly endMs: number }[] = [];

  constructor(limit: GradientLimit, random: () => number) {
    this.#limit = limit;
    this.#random = random;
  }

  run(forMs: number, load: SimulatedLoad): SimulatedRun {
    const untilMs = this.nowMs + forMs;
    const limits: number[] = [];
    let [served, refused, totalMs] = [0, 0, 0];
    let reportAtMs = this.nowMs + reportMs;
    let arrivalMs = this.nowMs + this.#pause(load);
    for (;;) {
      this.#begin(load);
      const endMs = Math.min(...this.#working.map((work) => work.endMs));
      const nextMs = Math.min(endMs, arrivalMs);
      for (; reportAtMs <= Math.min(nextMs, untilMs); reportAtMs += reportMs) limits.push(this.#limit.limit);
      if (nextMs > untilMs) break;
      this.nowMs = nextMs;
      if (endMs <= arrivalMs) {
        const done = this.#working.find((work) => work.endMs === endMs);
        this.#working = this.#working.filter((work) => work !== done);
        if (done === undefined) continue;
        served++;
        totalMs += this.nowMs - done.job.startMs;
        this.#limit.answered(done.job.startMs, done.job.activeAtStart, this.nowMs);
      } else {
        arrivalMs += this.#pause(load);
        const active = this.#queue.length + this.#working.length;
        if (active >= this.#limit.othersLimit) {
          refused++;
          this.#limit.refused();
        } else {
          this.#queue.push({ startMs: this.nowMs, activeAtStart: active + 1 });
          this.#limit.admitted(active + 1, this.nowMs);
        }
      }
    }
    this.nowMs = untilMs;
    return { limits, served, refused, meanMs: served === 0 ? 0 : totalMs / served };
  }

  #begin({ capacity, serviceMs }: SimulatedLoad): void {
    while (this.#working.length < capacity) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      this.#working.push({ job, endMs: this.nowMs + serviceMs * (0.5 + this.#random()) });
    }
  }

  #pause({ ratePerSecond }: SimulatedLoad): number {
    return ratePerSecond === 0 ? Infinity : (-Math.log(1 - this.#random()) * 1000) / ratePerSecond;
  }
}
