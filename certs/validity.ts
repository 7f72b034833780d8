/**
 * NotBefore of an issued leaf lies this far back, so that a peer whose clock is behind accepts it at once. SPIRE takes 10 s,
 * Linkerd tolerates 20 s; five minutes also cover machines that were never synchronised well.
 */
export const backdateMs = 300_000;

/** When a leaf was issued, as near as it says itself: renewal and warnings count its life from here, not from NotBefore. */
export function issuedAtMs(leaf: { readonly notBeforeMs: number; readonly notAfterMs: number }): number {
  const issued = leaf.notBeforeMs + backdateMs;
  // A leaf of another CA may live shorter than our backdating.
  return issued < leaf.notAfterMs ? issued : leaf.notBeforeMs;
}
