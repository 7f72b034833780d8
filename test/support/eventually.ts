import { setTimeout as sleep } from "node:timers/promises";

/**
 * Resolves as soon as `check` returns something truthy, with it; rejects after 5 s. For effects that real sockets bring
 * about; looks again at every turn of the event loop at first, then every few milliseconds.
 */
export async function eventually<T>(what: string, check: () => T | undefined | false): Promise<T> {
  const deadlineMs = performance.now() + 5000;
  for (let round = 0; ; round++) {
    const value = check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadlineMs) throw new Error(`did not come about within 5 s: ${what}`);
    await sleep(Math.min(round, 5));
  }
}
