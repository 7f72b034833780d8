const prefix = "HTTP/";

/**
 * Minor version of "HTTP/1.x" at `at`; 2 or more for every well-formed version that is not 1.0 or 1.1; -1 when it is no
 * HTTP-version (RFC 9112 §2.3: upper case, one digit each).
 */
export function minorVersion(text: string, at: number): number {
  for (let i = 0; i < prefix.length; i++) if (text.charCodeAt(at + i) !== prefix.charCodeAt(i)) return -1;
  const major = text.charCodeAt(at + 5) - 0x30;
  const minor = text.charCodeAt(at + 7) - 0x30;
  const isWellFormed =
    text.charCodeAt(at + 6) === 0x2e && major >= 0 && major <= 9 && minor >= 0 && minor <= 9;
  if (!isWellFormed) return -1;
  return major === 1 ? minor : 10;
}
