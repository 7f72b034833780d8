/**
 * How the end of a message's body is found (RFC 9112 §6.3). `length` is what BodySource.length wants: bytes to come, or -1
 * when only the end tells. All four have one shape, so that code reading them stays monomorphic.
 */
export type BodyFraming =
  /** No byte of body follows. Also for Content-Length: 0. */
  | { readonly kind: "none"; readonly length: number }
  /** Exactly `length` bytes, at least one. */
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked"; readonly length: number }
  /** Responses only: all bytes until the sender closes. */
  | { readonly kind: "until-close"; readonly length: number };

export const noBody: BodyFraming = Object.freeze({ kind: "none", length: 0 });
export const chunkedBody: BodyFraming = Object.freeze({ kind: "chunked", length: -1 });
export const bodyUntilClose: BodyFraming = Object.freeze({ kind: "until-close", length: -1 });

/** A body of this many bytes. */
export function bodyOfLength(length: number): BodyFraming {
  return length === 0 ? noBody : { kind: "length", length };
}
