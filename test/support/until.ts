import { setTimeout as sleep } from "node:timers/promises";

/**
 * Asks `look` until it gives something, and resolves with that; rejects after `timeoutMs`, naming `what` and the last
 * error of `look`. For what other processes bring about: the time is a bound for slow machines, not a wait.
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 20_000,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  let problem = "";
  for (let waitMs = 5; ; waitMs = Math.min(100, waitMs * 1.5)) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      problem = "";
    } catch (error: unknown) {
      problem = `: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (performance.now() > deadlineMs)
      throw new Error(`not seen within ${timeoutMs / 1000} s: ${what}${problem}`);
    await sleep(waitMs);
  }
}
