/** ` Did you mean "x"?` for the nearest of `known`, or nothing when none is near: an error text ends with it. */
export function didYouMean(text: string, known: readonly string[]): string {
  const nearest = nearestWord(text, known);
  return nearest === undefined ? "" : `; did you mean "${nearest}"?`;
}

/** The word of `known` that `text` is most likely a typo of, or undefined. Case counts as no difference. */
export function nearestWord(text: string, known: readonly string[]): string | undefined {
  const lower = text.toLowerCase();
  let best: string | undefined;
  // One mistake per three letters: "matchs" is "matches", but "port" is not "host".
  let bestDistance = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const word of known) {
    if (Math.abs(word.length - text.length) >= bestDistance) {
      // A part of a long word may stand for it: "outlier", "Prefix".
      if (best === undefined && text.length >= 4 && word.toLowerCase().includes(lower)) best = word;
      continue;
    }
    const distance = editDistance(lower, word.toLowerCase());
    if (distance >= bestDistance) continue;
    best = word;
    bestDistance = distance;
  }
  return best;
}

/**
 * Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours each cost 1.
 * Texts are cut at 64 characters, which bounds the work for hostile input.
 */
export function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64);
  const b = right.slice(0, 64);
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let cost = Math.min(
        (previous[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (previous[j - 1] ?? 0) + (isSame ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
