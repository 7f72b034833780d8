/** When a key that signs JWT-SVIDs begins to. */
export interface KeyTimes {
  readonly activeFromMs: number;
}

const hourMs = 3_600_000;
/** How long one key signs. */
const signsForMs = 7 * 24 * hourMs;
/** A key is published for so long before it signs: every sidecar and federated mesh knows it by then. */
const publishedBeforeMs = 24 * hourMs;
/** The longest life of a token, and clocks that are behind: so long a key stays after the last token of it. */
const keptAfterMs = 2 * hourMs;
/** The longest life that a token may have. */
export const maxJwtTtlMs = hourMs;

/**
 * What is to be done with the signing keys at `nowMs`: which of them stay, and when a new one would begin to sign.
 * @param keys by the time that they begin at.
 */
export function planKeys<K extends KeyTimes>(
  keys: readonly K[],
  nowMs: number,
): { readonly keep: readonly K[]; readonly createActiveFromMs: number | undefined } {
  const keep = keys.filter((_, index) => {
    const successor = keys[index + 1];
    return successor === undefined || successor.activeFromMs + keptAfterMs > nowMs;
  });
  const last = keys.at(-1);
  if (last === undefined) return { keep, createActiveFromMs: nowMs };
  const dueMs = last.activeFromMs + signsForMs;
  if (nowMs < dueMs - publishedBeforeMs) return { keep, createActiveFromMs: undefined };
  // After a long absence too nobody knows it yet: the old one signs meanwhile.
  return { keep, createActiveFromMs: Math.max(dueMs, nowMs + publishedBeforeMs) };
}

/** The key that signs at `nowMs`: the newest that has begun; before any has, as with a clock set back, the first. */
export function signingKey<K extends KeyTimes>(keys: readonly K[], nowMs: number): K | undefined {
  return keys.findLast(({ activeFromMs }) => activeFromMs <= nowMs) ?? keys[0];
}
