/** A header block that cannot be decoded: COMPRESSION_ERROR, the end of the connection (RFC 7541 §2.2, RFC 9113 §4.3). */
export class HpackError extends Error {}
