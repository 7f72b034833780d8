import type { Headers } from "../traffic/headers.js";
import { fieldName, titleCase } from "./field-name.js";

/**
 * HTTP/2 has lower-case names only; an HTTP/1.1 application behind the mesh gets them as its client wrote them. The mark
 * says how: "t" or "l" for names in title or lower case, then the exceptions in full: `t,ETag,x-case`.
 */
export const caseField = "x-remora-case";

/** Longer marks are not believed: no honest head has so many odd names. */
const maxMarkBytes = 2048;

const titles = new Map<string, string>();
const maxTitles = 2048;

/** The mark of a head that came by HTTP/1; "" when every name is in lower case. */
export function caseMark(headers: readonly string[]): string {
  let title = 0;
  let lower = 0;
  let other = false;
  for (let i = 0; i < headers.length; i += 2) {
    const { style } = fieldName(headers[i] as string);
    if (style === "title") title++;
    else if (style === "lower") lower++;
    else other = true;
  }
  if (title === 0 && !other) return "";
  if (lower === 0 && !other) return "t";
  const usual = title >= lower ? "title" : "lower";
  let host = "";
  let others = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const { style, lower: lowerName } = fieldName(name);
    if (style === usual) continue;
    // Carried as :authority, it comes out first.
    if (lowerName === "host") host = `,${name}`;
    else others += `,${name}`;
  }
  const mark = (usual === "title" ? "t" : "l") + host + others;
  return mark.length <= maxMarkBytes ? mark : "";
}

/** Spells the lower-case names of a head as its mark says, in place. A mark changes nothing but letter case. */
export function restoreCase(headers: Headers, mark: string): void {
  if (mark.length > maxMarkBytes) return;
  const usual = mark.charCodeAt(0);
  const isTitle = usual === 0x74;
  if (!isTitle && usual !== 0x6c) return;
  const exceptions = mark.length > 2 ? mark.slice(2).split(",") : noExceptions;
  // Exceptions stand in the order of the fields; some fields are joined or taken off on the way.
  let next = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const at = next < exceptions.length ? findSpelling(exceptions, next, name) : -1;
    if (at >= 0) {
      headers[i] = exceptions[at] as string;
      next = at + 1;
    } else if (isTitle) headers[i] = titleOf(name);
  }
}

function findSpelling(exceptions: readonly string[], from: number, lower: string): number {
  for (let i = from; i < exceptions.length; i++) {
    const spelling = exceptions[i] as string;
    if (spelling.length === lower.length && spelling.toLowerCase() === lower) return i;
  }
  return -1;
}

const noExceptions: readonly string[] = [];

function titleOf(lower: string): string {
  const known = titles.get(lower);
  if (known !== undefined) return known;
  if (titles.size >= maxTitles) titles.clear();
  const title = titleCase(lower);
  titles.set(lower, title);
  return title;
}
