/**
 * Which bytes may stand where in header fields, as tables by byte: 1 allowed, 0 not. Reading past the end of a string
 * gives NaN, reading the table there gives undefined, which is not allowed either: scanners need no bounds check.
 */

const letters = "abcdefghijklmnopqrstuvwxyz";

/** tchar of RFC 9110 §5.6.2: method, field name, transfer coding, connection option. */
export const tokenBytes: Uint8Array = tableOf(`!#$%&'*+-.^_\`|~0123456789${letters}${letters.toUpperCase()}`);

/** Bytes of a field value (RFC 9110 §5.5): VCHAR, SP, HTAB and obs-text. No other control byte, no DEL. */
export const valueBytes: Uint8Array = new Uint8Array(256).map((_, byte) =>
  byte === 0x09 || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0,
);

/** Bytes of a request target: VCHAR without "#", which begins a fragment and is never sent (RFC 9110 §4.2.5). */
export const targetBytes: Uint8Array = new Uint8Array(256).map((_, byte) =>
  byte > 0x20 && byte < 0x7f && byte !== 0x23 ? 1 : 0,
);

/** A table that allows exactly the ASCII characters of a text. */
export function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (let i = 0; i < characters.length; i++) table[characters.charCodeAt(i)] = 1;
  return table;
}

/** Are all characters of a text allowed by a table? True for the empty text. */
export function consistsOf(text: string, table: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (table[text.charCodeAt(i)] !== 1) return false;
  return true;
}

// Above U+00FF latin1 drops bits: U+010A would go out as a line feed. On one-byte strings V8 leaves that range out. DEL is
// looked for by itself because one range outside 0-31 makes the whole search three times slower.
const stray = /[\0-\x08\x0b\x0c\x0e-\x1f\u0100-\uffff]|\r(?!\n)/;

/**
 * Does a text of lines hold a control character other than HTAB, LF and the CR of a CRLF, or anything above U+00FF? Native
 * search over a whole head, several times cheaper than a look at each character.
 */
export function hasStrayControl(text: string): boolean {
  return stray.test(text) || text.includes("\x7f");
}
