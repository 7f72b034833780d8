import { consistsOf, tokenBytes, valueBytes } from "./field-syntax.js";

/**
 * Header fields as a flat list [name, value, name, value, ...] in the order and the letter case they arrived in. Never an
 * object keyed by name: no prototype to pollute, nothing folded, nothing lost, and no allocation per field.
 */
export type Headers = string[];

/** Equal without regard to ASCII case; `lower` is already lower case. */
export function nameIs(name: string, lower: string): boolean {
  return name.length === lower.length && (name === lower || name.toLowerCase() === lower);
}

/** Value of the first field with this lower-case name. An absent field is undefined, an empty one "". */
export function getHeader(headers: readonly string[], lower: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (nameIs(headers[i] as string, lower)) return headers[i + 1];
  }
  return undefined;
}

/** Removes every field with this lower-case name, in place. */
export function removeHeader(headers: Headers, lower: string): void {
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (nameIs(name, lower)) continue;
    if (kept !== i) {
      headers[kept] = name;
      headers[kept + 1] = headers[i + 1] as string;
    }
    kept += 2;
  }
  if (kept < headers.length) headers.length = kept;
}

/**
 * Replaces the first field in its place and drops further ones, or appends. Compares without regard to case.
 * @param lower given where `name` is in lower case anyway.
 */
export function setHeader(headers: Headers, name: string, value: string, lower = name.toLowerCase()): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, lower)) continue;
    headers[i + 1] = value;
    const rest = headers.splice(i + 2);
    removeHeader(rest, lower);
    headers.push(...rest);
    return;
  }
  headers.push(name, value);
}

/**
 * May this text be written as a field value on any wire? For layers that add values which no codec has read: config
 * templates, SANs, SNI, paths. Refuses control characters (RFC 9110 §5.5) and everything above U+00FF: written as latin1,
 * U+010A would become a line feed.
 */
export function isSafeHeaderValue(value: string): boolean {
  return consistsOf(value, valueBytes);
}

/** May this text be a field name (RFC 9110 §5.1: a token)? */
export function isHeaderName(name: string): boolean {
  return name.length > 0 && consistsOf(name, tokenBytes);
}
