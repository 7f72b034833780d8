/**
 * How servers behind may read a canonical path (traffic/path.ts), each as the text that its bytes spell. The first is the
 * path with everything decoded, since `/a%40b` and `/a@b` lead to one place. Where a segment has parameters (`/admin;x=1`),
 * the second is the path without them, as servlet containers route it. A rule that refuses holds when it fits one of them, a
 * rule that allows only when it fits all.
 */
export function pathReadings(path: string): readonly string[] {
  const isEncoded = path.includes("%");
  if (!isEncoded && !path.includes(";")) return [path];
  const decoded = isEncoded ? decodeBytes(path) : path;
  if (!decoded.includes(";")) return [decoded];
  return [decoded, withoutParameters(decoded)];
}

/** Every percent-encoded byte as the character of its number; a canonical path has two digits after each "%". */
export function decodeBytes(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

function withoutParameters(path: string): string {
  const plain = path.replace(/;[^/]*/g, "").replace(/\/{2,}/g, "/");
  return plain === "" ? "/" : plain;
}
