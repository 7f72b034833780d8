import { parseContentLength } from "../traffic/content-length.js";
import { hasStrayControl, tokenBytes } from "../traffic/field-syntax.js";
import type { Headers } from "../traffic/headers.js";
import { ConnectionOptions } from "./connection-options.js";
import { malformed, tooLarge, type MessageKind } from "./refusal.js";

const cr = 0x0d;
const lf = 0x0a;
const colon = 0x3a;
const space = 0x20;
const tab = 0x09;

/** The fields of one head or trailer section: those that go on, and what the others said about this connection. */
export class FieldSection {
  readonly kind: MessageKind;
  /** End-to-end fields, bytes and order as received. */
  readonly headers: Headers = [];
  readonly connection: ConnectionOptions = new ConnectionOptions();
  /** Index in headers of Host's value and of Content-Length's; -1 when absent. */
  hostAt = -1;
  contentLengthAt = -1;
  /** Value of Content-Length; -1 when absent. */
  contentLength = -1;
  /** Value of Transfer-Encoding as received; undefined when absent. */
  transferEncoding: string | undefined = undefined;
  expect: string | undefined = undefined;
  upgrade = "";
  keepAlive = "";

  constructor(kind: MessageKind) {
    this.kind = kind;
  }
}

/**
 * Reads field lines from `at` to the empty line that ends the text (RFC 9112 §5), each byte once. Strict: CRLF only, no
 * folding, no space before the colon. Hop-by-hop fields (RFC 9110 §7.6.1) and those nominated by Connection are taken
 * off. Throws ProxyError.
 */
export function parseFieldSection(
  text: string,
  at: number,
  kind: MessageKind,
  maxHeaders: number,
): FieldSection {
  // After this a carriage return is always followed by a line feed, and values need no look at each byte.
  if (hasStrayControl(text)) throw malformed(kind, "control character or bare carriage return");
  const section = new FieldSection(kind);
  const headers = section.headers;
  let count = 0;
  for (;;) {
    const nameStart = at;
    let byte = text.charCodeAt(at);
    while (tokenBytes[byte] === 1) byte = text.charCodeAt(++at);
    if (at === nameStart) {
      if (byte === cr && text.charCodeAt(at + 1) === lf && at + 2 === text.length) break;
      throw malformed(kind, lineStartFault(byte));
    }
    if (byte !== colon) throw malformed(kind, "invalid character in a field name, or no colon after it");
    if (++count > maxHeaders) throw tooLarge(kind, `more than ${maxHeaders} header lines`);
    const nameEnd = at;
    do byte = text.charCodeAt(++at);
    while (byte === space || byte === tab);
    const lineEnd = text.indexOf("\n", at);
    if (lineEnd < 0 || text.charCodeAt(lineEnd - 1) !== cr)
      throw malformed(kind, "line feed without carriage return");
    let valueEnd = lineEnd - 1;
    while (valueEnd > at && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--;
    const value = text.substring(at, valueEnd);
    if (isEndToEnd(section, text, nameStart, nameEnd, value)) {
      headers.push(text.substring(nameStart, nameEnd), value);
    }
    at = lineEnd + 1;
  }
  if (section.contentLengthAt >= 0) dropLeadingZeros(section);
  if (section.connection.nominated !== null) dropNominated(section, section.connection.nominated);
  return section;
}

/** Does the value consist of exactly this lower-case word, in any letter case? */
export function valueIs(value: string, lower: string): boolean {
  return value.length === lower.length && matches(value, 0, lower);
}

/** Notes what a field says about this connection; false when it ends here. By length first: most names differ there. */
function isEndToEnd(section: FieldSection, text: string, start: number, end: number, value: string): boolean {
  switch (end - start) {
    case 2:
      // TE is hop-by-hop but for "trailers", the one value that HTTP/2 knows, in lower case, and gRPC demands (RFC 9113 §8.2.2).
      if (!matches(text, start, "te")) return true;
      if (section.kind === "request" && valueIs(value, "trailers"))
        section.headers.push(text.substring(start, end), "trailers");
      return false;
    case 4:
      if (matches(text, start, "host")) noteHost(section);
      return true;
    case 6:
      if (matches(text, start, "expect")) {
        section.expect = section.expect === undefined ? value : `${section.expect}, ${value}`;
      }
      return true;
    case 7:
      if (!matches(text, start, "upgrade")) return true;
      section.upgrade = section.upgrade === "" ? value : `${section.upgrade}, ${value}`;
      return false;
    case 10:
      if (matches(text, start, "connection")) {
        if (!section.connection.add(value)) throw malformed(section.kind, "too many connection options");
        return false;
      }
      if (!matches(text, start, "keep-alive")) return true;
      section.keepAlive = value;
      return false;
    case 14:
      if (matches(text, start, "content-length")) noteContentLength(section, value);
      else if (matches(text, start, "http2-settings")) return false;
      else refuseTwin(section, text, start, "content", "length");
      return true;
    case 17:
      if (matches(text, start, "transfer-encoding")) {
        if (section.transferEncoding !== undefined) {
          throw malformed(section.kind, "more than one transfer-encoding field");
        }
        section.transferEncoding = value;
        return false;
      }
      refuseTwin(section, text, start, "transfer", "encoding");
      return true;
    case 16:
      return !matches(text, start, "proxy-connection");
    case 18:
      return !matches(text, start, "proxy-authenticate");
    case 19:
      return !matches(text, start, "proxy-authorization");
    case 25:
      return !matches(text, start, "proxy-authentication-info");
    default:
      return true;
  }
}

function noteHost(section: FieldSection): void {
  if (section.kind === "response") return;
  if (section.hostAt >= 0) throw malformed(section.kind, "more than one host field");
  section.hostAt = section.headers.length + 1;
}

/** RFC 9110 §8.6: digits only. Repeated ones are refused even when they agree (CVE-2026-1525). */
function noteContentLength(section: FieldSection, value: string): void {
  if (section.contentLengthAt >= 0) throw malformed(section.kind, "more than one content-length field");
  const length = parseContentLength(value);
  if (Number.isNaN(length)) throw malformed(section.kind, "invalid content-length");
  section.contentLength = length;
  section.contentLengthAt = section.headers.length + 1;
}

/** "010" is ten (RFC 9110 §8.6), but not to every parser behind us. */
function dropLeadingZeros(section: FieldSection): void {
  const value = section.headers[section.contentLengthAt] as string;
  if (value.length > 1 && value.charCodeAt(0) === 0x30) {
    section.headers[section.contentLengthAt] = String(section.contentLength);
  }
}

/** A name that CGI-like servers read as a framing field: they fold "_" and "-" (Envoy headers_with_underscores_action). */
function refuseTwin(section: FieldSection, text: string, start: number, first: string, second: string): void {
  if (
    text.charCodeAt(start + first.length) === 0x5f &&
    matches(text, start, first) &&
    matches(text, start + first.length + 1, second)
  ) {
    throw malformed(section.kind, `field name ${first}_${second} stands for a framing field`);
  }
}

function dropNominated(section: FieldSection, nominated: readonly string[]): void {
  const { headers } = section;
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (nominated.includes(name.toLowerCase())) continue;
    if (i + 1 === section.hostAt) section.hostAt = kept + 1;
    if (i + 1 === section.contentLengthAt) section.contentLengthAt = kept + 1;
    headers[kept] = name;
    headers[kept + 1] = headers[i + 1] as string;
    kept += 2;
  }
  headers.length = kept;
}

function lineStartFault(byte: number): string {
  if (byte === space || byte === tab) return "folded or indented field line";
  if (byte === colon) return "empty field name";
  return byte === cr || byte === lf
    ? "bare carriage return or line feed"
    : "invalid character in a field name";
}

function isBlank(byte: number): boolean {
  return byte === space || byte === tab;
}

/** Compares ASCII text at `start` with lower-case letters and "-". Bytes that would collide are no token characters. */
function matches(text: string, start: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    if ((text.charCodeAt(start + i) | 0x20) !== lower.charCodeAt(i)) return false;
  }
  return true;
}
