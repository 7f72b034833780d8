import type { Headers } from "../traffic/headers.js";
import { isForbiddenTrailer } from "../traffic/trailers.js";
import type { ByteWriter } from "./byte-writer.js";
import { fieldName } from "./field-name.js";
import type { HpackEncoder } from "./hpack-encoder.js";

/**
 * The trailers that go on (RFC 9113 §8.1); null when none is left. A pseudo-header among them is dropped like every other
 * field that must not be a trailer.
 */
export function readTrailers(fields: Headers): readonly string[] | null {
  const trailers: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (name.charCodeAt(0) !== 0x3a && !isForbiddenTrailer(name))
      trailers.push(name, fields[i + 1] as string);
  }
  return trailers.length === 0 ? null : trailers;
}

/** Appends the header block of trailers. Throws like writeRequestHead. */
export function writeTrailers(encoder: HpackEncoder, out: ByteWriter, trailers: readonly string[]): void {
  encoder.begin(out);
  for (let i = 0; i < trailers.length; i += 2) {
    encoder.field(out, fieldName(trailers[i] as string).lower, trailers[i + 1] as string);
  }
}
