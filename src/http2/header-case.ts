import { isHeaderName, type Headers } from "../traffic/headers.js";
import { fieldName, type FieldName } from "./field-name.js";

/**
 * HTTP/2 has lower-case names only (RFC 9113 §8.2.1); an HTTP/1.1 application behind the mesh gets them as its client wrote
 * them. The mark says how: "t" or "l" for names in title or lower case, then the exceptions in full: `t,ETag,x-case`. A name
 * that comes in several spellings is there once for each of its fields, in their order.
 */
export const caseField = "x-remora-case";

/** Longer marks are neither made nor believed: no honest head has so many odd names. */
const maxMarkBytes = 2048;

/** Makes the marks of messages that came by HTTP/1, one message after the other. */
export class CaseMarker {
  /** Of the last message, as far as this one is the same; of this one from the first difference on. */
  readonly #names: FieldName[] = [];
  #count = 0;
  /** Of the last message; null when it has not the same names. Callers send the same names over and over. */
  #mark: string | null = "";

  begin(): void {
    this.#count = 0;
  }

  add(name: FieldName): void {
    const at = this.#count++;
    if (this.#names[at] === name) return;
    this.#mark = null;
    this.#names.length = at;
    this.#names.push(name);
  }

  /** The mark; "" when every name is in lower case, or there are too many odd ones. */
  finish(): string {
    if (this.#mark !== null && this.#count === this.#names.length) return this.#mark;
    this.#names.length = this.#count;
    return (this.#mark = markOf(this.#names));
  }
}

function markOf(names: readonly FieldName[]): string {
  let titles = 0;
  let lowers = 0;
  for (const { raw, lower, title } of names) {
    if (raw === lower) lowers++;
    else if (raw === title) titles++;
  }
  if (lowers === names.length) return "";
  const isTitle = titles >= lowers;
  const spellings = new Map<string, string[]>();
  for (const { raw, lower } of names) {
    const all = spellings.get(lower);
    if (all === undefined) spellings.set(lower, [raw]);
    else all.push(raw);
  }
  let mark = isTitle ? "t" : "l";
  for (const { raw, lower, title } of names) {
    const all = spellings.get(lower);
    if (all === undefined || raw === (isTitle ? title : lower)) continue;
    mark += "," + (all.every((each) => each === raw) ? raw : all.join(","));
    if (mark.length > maxMarkBytes) return "";
    spellings.delete(lower);
  }
  return mark;
}

/**
 * Spells the lower-case names of a head as its mark says, in place. What is no mark is ignored, and none changes more than
 * letter case: exceptions are looked up by what they are in lower case.
 */
export function restoreCase(headers: Headers, mark: string): void {
  const spelling = mark.length > maxMarkBytes ? null : (spellings.get(mark) ?? learn(mark));
  if (spelling === null) return;
  if (!isOf(headers, spelling.lower)) respell(spelling, headers);
  const { spelled } = spelling;
  for (let i = 0; i < spelled.length; i++) headers[2 * i] = spelled[i] as string;
}

interface Spelling {
  readonly isTitle: boolean;
  /** By lower-case name: how its first, second, ... field is spelled. */
  readonly exceptions: ReadonlyMap<string, readonly string[]>;
  /** The names of the head that had this mark last, before and after. */
  lower: readonly string[];
  spelled: readonly string[];
}

/** Callers send the same few marks over and over. */
const maxSpellings = 64;
const spellings = new Map<string, Spelling>();

function learn(mark: string): Spelling | null {
  const [usual, ...names] = mark.split(",");
  if ((usual !== "t" && usual !== "l") || !names.every(isHeaderName)) return null;
  const exceptions = new Map<string, string[]>();
  for (const name of names) {
    const lower = name.toLowerCase();
    const all = exceptions.get(lower);
    if (all === undefined) exceptions.set(lower, [name]);
    else all.push(name);
  }
  if (spellings.size >= maxSpellings) spellings.clear();
  const spelling: Spelling = { isTitle: usual === "t", exceptions, lower: [], spelled: [] };
  spellings.set(mark, spelling);
  return spelling;
}

function isOf(headers: readonly string[], names: readonly string[]): boolean {
  if (headers.length !== names.length * 2) return false;
  for (let i = 0; i < names.length; i++) if (headers[2 * i] !== names[i]) return false;
  return true;
}

function respell(spelling: Spelling, headers: readonly string[]): void {
  const { isTitle, exceptions } = spelling;
  const lower: string[] = [];
  const counts = new Map<string, number>();
  spelling.spelled = headers
    .filter((_, i) => i % 2 === 0)
    .map((name) => {
      lower.push(name);
      const all = exceptions.get(name);
      if (all === undefined) return isTitle ? fieldName(name).title : name;
      const nth = counts.get(name) ?? 0;
      counts.set(name, nth + 1);
      return all[Math.min(nth, all.length - 1)] as string;
    });
  spelling.lower = lower;
}
