import { nameIs } from "./headers.js";

const field = "idempotency-key";

/**
 * Whether a request carries an Idempotency-Key: one field whose value is not empty, as a structured-field string or bare
 * (draft-ietf-httpapi-idempotency-key-header §2.1). Two fields could be read in two ways, and do not count.
 */
export function hasIdempotencyKey(headers: readonly string[]): boolean {
  let count = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, field)) continue;
    if (++count > 1 || !/[^\s"]/.test(headers[i + 1] as string)) return false;
  }
  return count === 1;
}
