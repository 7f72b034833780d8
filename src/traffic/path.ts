/**
 * The one canonical form of a request target: what routes and authorization decide on is what is forwarded, so that no
 * spelling of a path slips past a rule and is understood differently behind it.
 */

const percent = 0x25;
const dot = 0x2e;
const slash = 0x2f;
const semicolon = 0x3b;
const question = 0x3f;
const backslash = 0x5c;
const hash = 0x23;

/** RFC 3986 §2.3: characters whose percent-encoding means nothing. */
const isUnreserved = (c: number): boolean =>
  (c >= 0x61 && c <= 0x7a) ||
  (c >= 0x41 && c <= 0x5a) ||
  (c >= 0x30 && c <= 0x39) ||
  c === 0x2d ||
  c === dot ||
  c === 0x5f ||
  c === 0x7e;

/**
 * Path and query with a canonical path: dot segments resolved (also those written %2e), slashes merged, unreserved
 * characters decoded, the hexadecimal digits of what stays encoded in upper case (RFC 3986 §6.2.2). %2F and %5C stay
 * encoded (`hasEncodedSeparator` tells). The query is untouched. Decodes once, so the result is a fixed point.
 *
 * undefined means: refuse as malformed. That is a target which does not begin with "/" (except "*"), a backslash, "#",
 * a space, a control character or a byte above 0x7e in the path, "%" without two hexadecimal digits, %00, an overlong
 * UTF-8 form, or a dot segment with parameters (`/..;x/`, which some servers resolve and others do not).
 *
 * Returns the same string after a single scan when there is nothing to do.
 */
export function normalizeTarget(target: string): string | undefined {
  if (target.charCodeAt(0) !== slash) return target === "*" ? target : undefined;
  const length = target.length;
  let isCanonical = true;
  let previous = slash;
  let i = 1;
  for (; i < length; i++) {
    const c = target.charCodeAt(i);
    if (c === question) break;
    if (c <= 0x20 || c >= 0x7f || c === backslash || c === hash) return undefined;
    // A dot after a slash may begin a dot segment: the slow path decides.
    if (c === percent || (previous === slash && (c === slash || c === dot))) isCanonical = false;
    previous = c;
  }
  const pathEnd = i;
  for (; i < length; i++) {
    const c = target.charCodeAt(i);
    if (c <= 0x20 || c === 0x7f || c === hash) return undefined;
  }
  if (isCanonical) return target;
  const decoded = decodeUnreserved(target, pathEnd);
  const path = decoded === undefined ? undefined : resolveSegments(decoded);
  if (path === undefined) return undefined;
  return pathEnd === length ? path : path + target.slice(pathEnd);
}

/**
 * True when the path of a canonical target holds an encoded "/" or "\" (%2F, %5C). A server behind may decode it into a
 * separator, so a rule that refuses by path prefix should refuse these too.
 */
export function hasEncodedSeparator(target: string): boolean {
  const end = pathEndOf(target);
  const at = target.indexOf("%2F");
  if (at !== -1 && at < end) return true;
  const other = target.indexOf("%5C");
  return other !== -1 && other < end;
}

/** Where the path of a target ends: the index of "?", or its length. */
export function pathEndOf(target: string): number {
  const at = target.indexOf("?");
  return at === -1 ? target.length : at;
}

function decodeUnreserved(target: string, end: number): string | undefined {
  let result = "";
  let copied = 0;
  for (let i = target.indexOf("%"); i !== -1 && i < end; i = target.indexOf("%", i + 3)) {
    const value = hexByte(target, i + 1, end);
    if (value <= 0 || isOverlong(value, target, i + 3, end)) return undefined;
    result += target.slice(copied, i);
    result += isUnreserved(value) ? String.fromCharCode(value) : target.slice(i, i + 3).toUpperCase();
    copied = i + 3;
  }
  return result + target.slice(copied, end);
}

/** Two hexadecimal digits as a number; -1 when they are not there. */
function hexByte(text: string, at: number, end: number): number {
  if (at + 2 > end) return -1;
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high === -1 || low === -1 ? -1 : high * 16 + low;
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** RFC 3629 §3: C0, C1 and F5..FF never occur; E0 80..9F and F0 80..8F spell a shorter character the long way. */
function isOverlong(value: number, text: string, next: number, end: number): boolean {
  if (value < 0xc0) return false;
  if (value <= 0xc1 || value >= 0xf5) return true;
  if (value !== 0xe0 && value !== 0xf0) return false;
  if (text.charCodeAt(next) !== percent) return false;
  const following = hexByte(text, next + 1, end);
  return following >= 0x80 && following < (value === 0xe0 ? 0xa0 : 0x90);
}

/** RFC 3986 §5.2.4 after merging slashes; ".." at the root stays at the root. */
function resolveSegments(path: string): string | undefined {
  const kept: string[] = [];
  let isFolder = false;
  for (const segment of path.split("/")) {
    isFolder = segment === "" || segment === "." || segment === "..";
    if (segment === "..") kept.pop();
    else if (isDotWithParameters(segment)) return undefined;
    else if (!isFolder) kept.push(segment);
  }
  if (kept.length === 0) return "/";
  return `/${kept.join("/")}${isFolder ? "/" : ""}`;
}

function isDotWithParameters(segment: string): boolean {
  if (segment.charCodeAt(0) !== dot) return false;
  const end = segment.charCodeAt(1) === dot ? 2 : 1;
  return segment.charCodeAt(end) === semicolon || segment.startsWith("%3B", end);
}
