import type { Clock, Timer } from "../time/clock.js";
import type { Metrics } from "./metrics.js";

const periodMs = 100;
/** Envoy's watchdog calls these miss and mega-miss. */
const missMs = 200;
const megaMissMs = 1000;

/** Watches how late timers run: a sidecar whose event loop stalls delays every request of its service. */
export function watchEventLoop(clock: Clock, metrics: Metrics): { close(): void } {
  const misses = metrics.eventLoopStalls.cell({ over: "200ms" });
  const megaMisses = metrics.eventLoopStalls.cell({ over: "1s" });
  let longestMs = 0;
  let dueMs = 0;
  let timer: Timer;
  const arm = (): void => {
    dueMs = clock.monotonicMs() + periodMs;
    timer = clock.timer(periodMs, tick);
  };
  const tick = (): void => {
    const lateMs = Math.max(0, clock.monotonicMs() - dueMs);
    longestMs = Math.max(longestMs, lateMs);
    if (lateMs > missMs) misses.value++;
    if (lateMs > megaMissMs) megaMisses.value++;
    arm();
  };
  metrics.eventLoopLag.read({}, () => {
    const seconds = longestMs / 1000;
    longestMs = 0;
    return seconds;
  });
  arm();
  return { close: () => timer.cancel() };
}
