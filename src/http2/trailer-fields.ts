import type { Headers } from "../traffic/headers.js";
import { isForbiddenTrailer } from "../traffic/trailers.js";
import type { ByteWriter } from "../traffic/byte-writer.js";
import { fieldName } from "./field-name.js";
import type { HpackEncoder } from "./hpack-encoder.js";

/**
 * The trailers that go on (RFC 9113 §8.1), in the list that came; null when none is left. Dropped is what must not be merged into
 * a head.
 */
export function readTrailers(fields: Headers): readonly string[] | null {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (name.charCodeAt(0) === 0x3a || isForbiddenTrailer(name)) continue;
    fields[kept] = name;
    fields[kept + 1] = fields[i + 1] as string;
    kept += 2;
  }
  fields.length = kept;
  return kept === 0 ? null : fields;
}

/** Is there a pseudo-header among them? Then the message is malformed (RFC 9113 §8.1). */
export function hasPseudoHeader(fields: Headers): boolean {
  for (let i = 0; i < fields.length; i += 2) if ((fields[i] as string).charCodeAt(0) === 0x3a) return true;
  return false;
}

/** Appends the header block of trailers. Throws like writeRequestHead. */
export function writeTrailers(encoder: HpackEncoder, out: ByteWriter, trailers: readonly string[]): void {
  encoder.begin(out);
  for (let i = 0; i < trailers.length; i += 2) {
    const { lower, isConnectionField } = fieldName(trailers[i] as string);
    if (!isConnectionField) encoder.field(out, lower, trailers[i + 1] as string);
  }
}
