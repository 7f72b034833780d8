import { createHash } from "node:crypto";
import { nameIs } from "../traffic/headers.js";

/** What the head of a request says of its key. */
export type KeyReading =
  | { readonly type: "absent" }
  | { readonly type: "key"; readonly key: string }
  | { readonly type: "invalid"; readonly reason: string };

const maxKeyLength = 255;
const absent: KeyReading = { type: "absent" };

/**
 * Reads Idempotency-Key: a String (RFC 9651 §3.3.3), or without quotes any visible ASCII but quotes, backslash and comma, as
 * most clients in use write it; with and without quotes it is the same key. 1 to 255 characters, in one field alone.
 * Source: draft-ietf-httpapi-idempotency-key-header-07 §2.1.
 */
export function readIdempotencyKey(headers: readonly string[]): KeyReading {
  let value: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, "idempotency-key")) continue;
    if (value !== undefined) return invalid("the request has more than one");
    value = headers[i + 1] as string;
  }
  if (value === undefined) return absent;
  const key = value.startsWith('"') ? unquoted(value) : /^[\x21-\x7e]*$/.test(value) ? value : undefined;
  // A comma would make two fields that were merged on the way a third key.
  if (key === undefined || (key === value && /[",\\]/.test(value))) {
    return invalid('it must be a string like "8e03978e-40d5-43e8-bc93-6894a57f9324"');
  }
  if (key === "" || key.length > maxKeyLength) return invalid(`it must have 1 to ${maxKeyLength} characters`);
  return { type: "key", key };
}

/** Who uses a key, and where: the keys of others are other keys. */
export interface KeyScope {
  /** Our own SPIFFE id. */
  readonly service: string;
  /** Name of the configuration. */
  readonly name: string;
  /** SPIFFE id of the caller; undefined: it came without a certificate. */
  readonly caller: string | undefined;
}

/** Under what an execution is stored: a hash, so that stores hold neither keys nor names. */
export function entryId({ service, name, caller }: KeyScope, key: string): string {
  // None of the parts contains a NUL.
  const text = [service, name, caller ?? "plaintext", key].join("\0");
  return createHash("sha256").update(text).digest("base64url");
}

function invalid(reason: string): KeyReading {
  return { type: "invalid", reason };
}

/** undefined when it is no sf-string, or is followed by anything. */
function unquoted(value: string): string | undefined {
  const match = /^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/.exec(value);
  return match?.[1]?.replace(/\\(["\\])/g, "$1");
}
