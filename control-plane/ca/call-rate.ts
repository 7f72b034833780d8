/** A token bucket per caller, so that one caller's flood cannot use up the CA for the others. */
export interface CallRate {
  /** Takes one call of `caller`; false when it has none left. */
  take(caller: string, nowMs: number): boolean;
}

/** A mesh has far fewer identities; a flood of invented ones must not fill the memory. */
const maxCallers = 10_000;

/** @param burst calls at once after a pause; default one second's. `nowMs` is monotonic. */
export function createCallRate(perSecond: number, burst = perSecond): CallRate {
  /** caller -> what it had left, and when. Least recently seen first. */
  const buckets = new Map<string, { readonly left: number; readonly atMs: number }>();
  return {
    take(caller, nowMs) {
      const last = buckets.get(caller);
      const refilled = last === undefined ? burst : last.left + ((nowMs - last.atMs) / 1000) * perSecond;
      const left = Math.min(burst, refilled);
      const isAllowed = left >= 1;
      buckets.delete(caller);
      buckets.set(caller, { left: isAllowed ? left - 1 : left, atMs: nowMs });
      const oldest = buckets.keys().next().value;
      if (buckets.size > maxCallers && oldest !== undefined) buckets.delete(oldest);
      return isAllowed;
    },
  };
}
