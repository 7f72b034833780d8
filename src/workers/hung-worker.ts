import { sleep, type Clock } from "../time/clock.js";

/** A worker, as far as its watch is concerned. */
export interface WatchedWorker {
  readonly state: "starting" | "ready" | "silent" | "gone";
  /** undefined when there is no answer within `timeoutMs`, or it is gone. */
  ask(question: "alive", timeoutMs: number): Promise<true | undefined>;
}

/** Between an answer and the next question. */
const restMs = 1000;
/** Far more than any piece of work takes in a worker that is well. */
const hungMs = 5000;
/** When everything stood still, this process too, the answer came in meanwhile and is about to be read. */
const secondLookMs = 1000;

/**
 * Asks a worker over and over whether it lives. Its process may be there and do nothing any more: a loop without end, or a
 * signal that stopped it. Its connections would wait for ever, and new ones with them.
 *
 * @returns false when it has hung, true when it is gone.
 */
export async function watchForHang(worker: WatchedWorker, clock: Clock): Promise<boolean> {
  const isGone = (): boolean => worker.state === "gone";
  while (!isGone()) {
    await sleep(clock, restMs);
    if ((await worker.ask("alive", hungMs)) !== undefined || isGone()) continue;
    await sleep(clock, secondLookMs);
    if (worker.state === "silent") return false;
  }
  return true;
}
