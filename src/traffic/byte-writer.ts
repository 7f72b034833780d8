/** Bytes under construction: grows, and is taken as one piece. Written to directly on the hot path: ensure, then bytes[at++]. */
export class ByteWriter {
  bytes: Buffer;
  /** Where the next byte goes. */
  at = 0;

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
  }

  /** Makes room for `count` more bytes; `bytes` may be another Buffer afterwards. */
  ensure(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.at + count));
    this.bytes.copy(larger, 0, 0, this.at);
    this.bytes = larger;
  }
}

/** Above this many characters a call into the Buffer is faster than a loop. */
const maxLoop = 40;

/**
 * Appends text as latin1; room for it must be there. False, with nothing of use written, when it holds a character that
 * `allowed` (by byte, 1 = allowed) does not have, or one above U+00FF, which latin1 would turn into another.
 */
export function appendText(out: ByteWriter, text: string, allowed: Uint8Array): boolean {
  const { length } = text;
  const { bytes } = out;
  let { at } = out;
  if (length > maxLoop) {
    for (let i = 0; i < length; i++) if (allowed[text.charCodeAt(i)] !== 1) return false;
    out.at = at + bytes.write(text, at, "latin1");
    return true;
  }
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (allowed[code] !== 1) return false;
    bytes[at++] = code;
  }
  out.at = at;
  return true;
}
