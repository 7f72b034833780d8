import { isIPv6 } from "node:net";
import { tableOf } from "./field-syntax.js";

// Narrower than reg-name of RFC 3986 §3.2.2: no percent-encoding and no sub-delims, so that there is one spelling of each
// host, and no comma that another parser would take for a list. "_" is not a host name character but common in practice.
const hostBytes = tableOf("abcdefghijklmnopqrstuvwxyz0123456789-._~");
const maxHostLength = 255;

/**
 * The one spelling of an authority by which requests are routed and authorized: lower case, one trailing dot of the host
 * taken off, port kept as given. undefined when it is not `host`, `host:port` or `[ipv6]:port`: userinfo, empty host or
 * label, empty port, port over 65535, any other character.
 */
export function canonicalAuthority(text: string): string | undefined {
  if (text.charCodeAt(0) === 0x5b) return canonicalIpv6(text);
  let isUpper = false;
  let end = 0;
  let previous = 0x2e;
  for (; end < text.length; end++) {
    let byte = text.charCodeAt(end);
    if (byte === 0x3a) break;
    if (byte >= 0x41 && byte <= 0x5a) {
      isUpper = true;
      byte |= 0x20;
    }
    if (hostBytes[byte] !== 1) return undefined;
    if (byte === 0x2e && previous === 0x2e) return undefined;
    previous = byte;
  }
  if (end === 0 || end > maxHostLength || !isPortSuffix(text, end)) return undefined;
  if (previous === 0x2e) text = text.slice(0, end - 1) + text.slice(end);
  return isUpper ? text.toLowerCase() : text;
}

/** Host of a canonical authority, without its port; an IPv6 literal keeps its brackets. */
export function hostOf(authority: string): string {
  const colon = authority.indexOf(":", authority.charCodeAt(0) === 0x5b ? authority.indexOf("]") : 0);
  return colon < 0 ? authority : authority.slice(0, colon);
}

function canonicalIpv6(text: string): string | undefined {
  const close = text.indexOf("]");
  if (close < 0 || !isPortSuffix(text, close + 1)) return undefined;
  const address = text.slice(1, close);
  // A zone id means something only on the sender's machine (RFC 6874 §1).
  if (address.includes("%") || !isIPv6(address)) return undefined;
  return text.toLowerCase();
}

/** Is there nothing from `at` on, or ":" and a port of 1 to 5 digits? */
function isPortSuffix(text: string, at: number): boolean {
  if (at === text.length) return true;
  const digits = text.length - at - 1;
  if (text.charCodeAt(at) !== 0x3a || digits === 0 || digits > 5) return false;
  let port = 0;
  for (let i = at + 1; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return false;
    port = port * 10 + digit;
  }
  return port <= 65535;
}
