import { pathEndOf } from "./path.js";

/** What stands for whatever is not told apart any more: paths, callers and methods beyond the bounds. */
export const other = "__other__";

/** A path of more segments is a name space of its own. */
const maxSegments = 12;
const maxSegmentLength = 48;
/** More digits than a version or a year's last figures have: a number that names one thing. */
const maxDigits = 3;
/** Letters and digits in a row that no word has. */
const maxMixedRun = 11;
const minHexLength = 8;

/**
 * The shape of a canonical target's path: its segments, with `*` for each that names one thing and not a kind of things
 * (numbers, UUIDs, hashes, mail addresses, whatever is long or encoded). The query is no part of it. Folding a shape again
 * changes nothing. Segments are judged one by one, so that the same path always has the same shape.
 */
export function pathShape(target: string): string {
  if (target.charCodeAt(0) !== 0x2f) return other;
  const end = pathEndOf(target);
  let shape = "";
  let copied = 0;
  let segments = 0;
  for (let start = 1; start <= end;) {
    if (++segments > maxSegments) return other;
    let stop = target.indexOf("/", start);
    if (stop === -1 || stop > end) stop = end;
    if (stop > start && !isWord(target, start, stop)) {
      shape += `${target.slice(copied, start)}*`;
      copied = stop;
    }
    start = stop + 1;
  }
  return copied === 0 ? target.slice(0, end) : shape + target.slice(copied, end);
}

/** What a character may be in a word: a letter, one that is also a hexadecimal digit, a digit, what joins words; else 0. */
const letter = 1;
const hexLetter = 2;
const digit = 3;
const mark = 4;
const kinds = new Uint8Array(128);
for (const [kind, characters] of [
  [letter, "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ"],
  [hexLetter, "abcdefABCDEF"],
  [digit, "0123456789"],
  // The colon is that of `documents:batchGet`.
  [mark, "-._~$:"],
] as const)
  for (const character of characters) kinds[character.charCodeAt(0)] = kind;

/** Does the segment name a kind of things, like `users`, `v1`, `report.pdf` or `shop.Orders`? */
function isWord(text: string, start: number, stop: number): boolean {
  if (stop - start > maxSegmentLength || kinds[text.charCodeAt(start)] === digit) return false;
  let digits = 0;
  let isHex = stop - start >= minHexLength;
  let runStart = start;
  let digitsBefore = 0;
  for (let i = start; i < stop; i++) {
    const kind = kinds[text.charCodeAt(i)];
    if (kind === digit) digits++;
    else if (kind === mark) {
      if (digits > digitsBefore && i - runStart > maxMixedRun) return false;
      runStart = i + 1;
      digitsBefore = digits;
      isHex = false;
    } else if (kind === letter) isHex = false;
    else if (kind !== hexLetter) return false;
  }
  if (digits === 0) return true;
  return digits <= maxDigits && !isHex && (digits === digitsBefore || stop - runStart <= maxMixedRun);
}
