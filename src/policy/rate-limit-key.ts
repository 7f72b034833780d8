import { createHash } from "node:crypto";
import type { RateLimitKey } from "../config/rate-limit-config.js";
import type { RequestContext } from "../stack/request-context.js";
import { nameIs } from "../traffic/headers.js";

/** Longer keys are kept as their hash: what a client sends must not decide how much memory a bucket takes. */
const maxKeyLength = 128;

/** What a limit tells requests apart by, as one text. */
export type KeyOf = (request: RequestContext) => string;

/** Requests without the header share a bucket, and so do callers without a certificate. */
export function keyOf(keys: readonly RateLimitKey[]): KeyOf {
  const [only] = keys;
  if (only === undefined) return () => "";
  const parts = keys.map(partOf);
  const first = partOf(only);
  // No header value and no identity contains NUL.
  const join: KeyOf = keys.length === 1 ? first : (request) => parts.map((part) => part(request)).join("\0");
  return (request) => {
    const key = join(request);
    return key.length <= maxKeyLength ? key : createHash("sha256").update(key).digest("base64url");
  };
}

function partOf(key: RateLimitKey): KeyOf {
  if (key.type === "sourceIdentity") return ({ peerId }) => peerId ?? "";
  const { name } = key;
  return ({ head }) => joined(head.headers, name);
}

/** All lines of the header: with one of them alone, a second line would be a way to a bucket of one's own choice. */
function joined(headers: readonly string[], lower: string): string {
  let value: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, lower)) continue;
    const next = headers[i + 1] as string;
    value = value === undefined ? next : `${value},${next}`;
  }
  return value ?? "";
}
