import { createHash } from "node:crypto";

/** A body of any length is this, repeated. Its length is odd, so that pieces never fall on the borders of buffers. */
export const pattern: Buffer = Buffer.alloc(65_521);
for (let at = 0; at < pattern.length; at++) pattern[at] = (at * 31 + (at >> 8)) & 0xff;

/** SHA-256 of `count` bytes of the repeated pattern, hexadecimal. */
export function patternSha256(count: number): string {
  const hash = createHash("sha256");
  for (let at = 0; at < count; at += pattern.length)
    hash.update(pattern.subarray(0, Math.min(pattern.length, count - at)));
  return hash.digest("hex");
}
