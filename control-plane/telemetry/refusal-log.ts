import type { Clock } from "../../src/time/clock.js";
import type { Logger, RefusalLog } from "./log.js";

/** Whoever is refused may try again as fast as it can: of a flood some lines tell all that there is to tell. */
const linesPerSecond = 10;
const windowMs = 1000;

/** Writes refusals as warnings, a few in a second; of the others it tells how many they were. */
export function createRefusalLog(log: Logger, clock: Clock): RefusalLog {
  let written = 0;
  let left = 0;
  let isOpen = false;
  const end = (): void => {
    isOpen = false;
    if (left > 0) log.warn({ refusals: left }, "more refusals, not logged one by one");
    written = left = 0;
  };
  return (fields, message) => {
    if (!isOpen) {
      isOpen = true;
      clock.timer(windowMs, end);
    }
    if (written < linesPerSecond) {
      written += 1;
      log.warn(fields, message);
    } else left += 1;
  };
}
