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

/** Does the segment name a kind of things, like `users`, `v1`, `report.pdf` or `shop.Orders`? */
function isWord(text: string, start: number, stop: number): boolean {
  if (stop - start > maxSegmentLength || isDigit(text.charCodeAt(start))) return false;
  let digits = 0;
  let hexadecimals = 0;
  let run = 0;
  let runDigits = 0;
  for (let i = start; i < stop; i++) {
    const c = text.charCodeAt(i);
    if (isDigit(c)) {
      digits++;
      runDigits++;
      run++;
      hexadecimals++;
    } else if (isLetter(c)) {
      run++;
      if ((c | 0x20) <= 0x66) hexadecimals++;
    } else if (isMark(c)) {
      run = 0;
      runDigits = 0;
    } else return false;
    if (runDigits > 0 && run > maxMixedRun) return false;
  }
  if (digits > maxDigits) return false;
  return digits === 0 || hexadecimals < stop - start || hexadecimals < minHexLength;
}

const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39;

const isLetter = (c: number): boolean => (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a);

/** What joins words: - . _ ~ $ and the colon of `documents:batchGet`. */
const isMark = (c: number): boolean =>
  c === 0x2d || c === 0x2e || c === 0x5f || c === 0x7e || c === 0x24 || c === 0x3a;
