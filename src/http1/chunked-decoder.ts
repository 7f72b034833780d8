import { tokenBytes } from "../traffic/field-syntax.js";
import { isForbiddenTrailer } from "../traffic/trailers.js";
import { parseFieldSection } from "./field-section.js";
import { HeadReader } from "./head-reader.js";
import type { Http1Limits } from "./limits.js";
import { malformed, type MessageKind } from "./refusal.js";

/** Where in the chunked coding (RFC 9112 §7.1) the next byte stands. Numbers: one is compared per byte. */
const at = {
  /** First digit of a chunk size; at least one is required. */
  sizeStart: 0,
  size: 1,
  sizeLf: 2,
  data: 3,
  dataCr: 4,
  dataLf: 5,
  /** First byte of a line of the trailer section. */
  trailerStart: 6,
  trailerLf: 7,
  trailers: 8,
  done: 9,
  /** After ";": a chunk extension's name must follow. */
  extensionName: 10,
  extensionNameRest: 11,
  extensionValue: 12,
  extensionValueRest: 13,
  extensionQuoted: 14,
  extensionEscaped: 15,
  extensionQuoteEnd: 16,
} as const;
type Place = (typeof at)[keyof typeof at];

const cr = 0x0d;
const lf = 0x0a;
const semicolon = 0x3b;
const maxSizeDigits = 16;

/** Value of a hexadecimal digit by byte; -1 for every other byte. */
const hexDigits = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) {
  const digit = i.toString(16);
  hexDigits[digit.charCodeAt(0)] = i;
  hexDigits[digit.toUpperCase().charCodeAt(0)] = i;
}

/**
 * Takes the chunked coding off a body. Data comes out as subarrays of what went in. Extensions are checked, counted and
 * dropped; trailers are collected. One decoder can serve the messages of a connection one after another.
 */
export class ChunkedDecoder {
  /** Trailers, flat, once done; forbidden names (RFC 9110 §6.5.1) are left out. null when there are none. */
  trailers: string[] | null = null;
  readonly #limits: Http1Limits;
  readonly #kind: MessageKind;
  #place: Place = at.sizeStart;
  /** Size of the chunk whose size is being read, then bytes of it still to come. */
  #size = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerReader: HeadReader | null = null;

  constructor(limits: Http1Limits, side: MessageKind) {
    this.#limits = limits;
    this.#kind = side;
  }

  /** The body is complete, its trailers included. */
  get isDone(): boolean {
    return this.#place === at.done;
  }

  /** Between messages. */
  reset(): void {
    this.trailers = null;
    this.#place = at.sizeStart;
    this.#size = 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#trailerReader = null;
  }

  /**
   * Feeds chunk[from..]; calls onData for each run of body bytes, never with an empty one. Gives the offset after what
   * belongs to this body, which is chunk.length unless it is done. Throws ProxyError; data before the fault has been
   * handed out by then.
   */
  feed(chunk: Buffer, from: number, onData: (slice: Buffer) => void): number {
    while (from < chunk.length && this.#place !== at.done) {
      if (this.#place === at.data) {
        const end = Math.min(chunk.length, from + this.#size);
        this.#size -= end - from;
        if (this.#size === 0) this.#place = at.dataCr;
        onData(from === 0 && end === chunk.length ? chunk : chunk.subarray(from, end));
        from = end;
      } else if (this.#place === at.trailers) {
        from = this.#readTrailers(chunk, from);
      } else {
        const byte = chunk[from] as number;
        this.#place = this.#next(byte);
        // A trailer's first byte belongs to it.
        if (this.#place !== at.trailers) from++;
      }
    }
    return from;
  }

  #next(byte: number): Place {
    switch (this.#place) {
      case at.sizeStart:
      case at.size:
        return this.#afterSizeByte(byte);
      case at.sizeLf:
        this.#expect(byte, lf);
        this.#digits = 0;
        return this.#size === 0 ? at.trailerStart : at.data;
      case at.dataCr:
        this.#expect(byte, cr);
        return at.dataLf;
      case at.dataLf:
        this.#expect(byte, lf);
        return at.sizeStart;
      case at.trailerStart:
        return byte === cr ? at.trailerLf : at.trailers;
      case at.trailerLf:
        this.#expect(byte, lf);
        return at.done;
      default:
        return this.#afterExtensionByte(byte);
    }
  }

  #afterSizeByte(byte: number): Place {
    const digit = hexDigits[byte] as number;
    if (digit >= 0) {
      if (this.#digits === 0) this.#size = 0;
      this.#size = this.#size * 16 + digit;
      if (++this.#digits > maxSizeDigits || this.#size > Number.MAX_SAFE_INTEGER) {
        throw malformed(this.#kind, "chunk size over 2^53");
      }
      return at.size;
    }
    if (this.#place === at.size && byte === cr) return at.sizeLf;
    if (this.#place === at.size && byte === semicolon) return at.extensionName;
    throw malformed(this.#kind, "invalid chunk size");
  }

  /** chunk-ext of RFC 9112 §7.1.1, without the "bad" whitespace that it lets recipients remove. */
  #afterExtensionByte(byte: number): Place {
    if (++this.#extensionBytes > this.#limits.maxChunkExtensionBytes) {
      throw malformed(this.#kind, `chunk extensions over ${this.#limits.maxChunkExtensionBytes} bytes`);
    }
    const isToken = tokenBytes[byte] === 1;
    switch (this.#place) {
      case at.extensionName:
        if (isToken) return at.extensionNameRest;
        break;
      case at.extensionValue:
        if (isToken) return at.extensionValueRest;
        if (byte === 0x22) return at.extensionQuoted;
        break;
      case at.extensionQuoted:
        if (byte === 0x22) return at.extensionQuoteEnd;
        if (byte === 0x5c) return at.extensionEscaped;
        if (isText(byte)) return at.extensionQuoted;
        break;
      case at.extensionEscaped:
        if (isText(byte)) return at.extensionQuoted;
        break;
      default:
        if (byte === cr) return at.sizeLf;
        if (byte === semicolon) return at.extensionName;
        if (this.#place === at.extensionNameRest && byte === 0x3d) return at.extensionValue;
        if (this.#place !== at.extensionQuoteEnd && isToken) return this.#place;
    }
    throw malformed(this.#kind, "invalid chunk extension");
  }

  #readTrailers(chunk: Buffer, from: number): number {
    const { maxTrailerBytes, maxHeaders } = this.#limits;
    if (this.#trailerReader === null) {
      // A section without a start line: nothing in it can be a target that is too long.
      const limits = { ...this.#limits, maxHeadBytes: maxTrailerBytes, maxTargetBytes: maxTrailerBytes };
      this.#trailerReader = new HeadReader(limits, this.#kind, false);
    }
    const end = this.#trailerReader.push(chunk, from);
    if (end < 0) return chunk.length;
    const { text } = this.#trailerReader;
    this.#trailerReader = null;
    const { headers } = parseFieldSection(text, 0, this.#kind, maxHeaders);
    const trailers: string[] = [];
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string;
      if (!isForbiddenTrailer(name)) trailers.push(name, headers[i + 1] as string);
    }
    this.trailers = trailers.length === 0 ? null : trailers;
    this.#place = at.done;
    return end;
  }

  #expect(byte: number, wanted: number): void {
    if (byte !== wanted) throw malformed(this.#kind, "chunk or its size is not followed by CRLF");
  }
}

function isText(byte: number): boolean {
  return byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
}
