import { ProxyError } from "../errors/proxy-error.js";
import { appendText, type ByteWriter } from "../traffic/byte-writer.js";
import { valueBytes } from "../traffic/field-syntax.js";
import { nameIs } from "../traffic/headers.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import { reasonPhrase } from "./reason-phrase.js";

/** How a response's end is told and what becomes of the connection. */
export interface ResponseHeadOptions {
  /** The body will be written as chunks: HTTP/1.1 clients only. A Content-Length of the head is then left out. */
  readonly chunked: boolean;
  /** "close" on the last response of a connection; "keep-alive" for HTTP/1.0 clients that asked for it. */
  readonly connection: "" | "close" | "keep-alive";
  /** Protocol of a 101, or "". */
  readonly upgrade: string;
}

const colon = 0x3a;
const space = 0x20;
const cr = 0x0d;
const lf = 0x0a;

/**
 * Appends the complete head of a request as HTTP/1.1, up to and with the empty line. With `chunked` the body must follow in
 * chunks. Throws ProxyError internal, with nothing written, when a name or value holds a line ending or another byte that no
 * codec lets in: the peer would see other lines, or another message, than we meant (CVE-2022-31150).
 */
export function writeRequestHead(
  out: ByteWriter,
  head: RequestHead,
  chunked: boolean,
  close: boolean,
  upgrade = "",
): void {
  const start = out.at;
  put(out, start, head.method);
  out.bytes[out.at++] = space;
  put(out, start, head.target);
  put(out, start, " HTTP/1.1");
  endLine(out);
  const marks = putFields(out, start, head.headers, chunked);
  // HTTP/1.0 clients may leave it out, HTTP/1.1 servers may not do without (RFC 9112 §3.2).
  if ((marks & hasHost) === 0) putField(out, start, "Host", head.authority);
  finish(out, start, marks, chunked, close ? "close" : "", upgrade);
}

/** Appends the complete head of a response as HTTP/1.1. Same rules as writeRequestHead. */
export function writeResponseHead(out: ByteWriter, head: ResponseHead, options: ResponseHeadOptions): void {
  const start = out.at;
  const reason = head.reason === "" ? reasonPhrase(head.status) : head.reason;
  put(out, start, "HTTP/1.1 ");
  put(out, start, String(head.status));
  out.bytes[out.at++] = space;
  put(out, start, reason);
  endLine(out);
  const marks = putFields(out, start, head.headers, options.chunked);
  finish(out, start, marks, options.chunked, options.connection, options.upgrade);
}

/** Appends the size line of a chunk of `length` > 0 bytes. The data and then CRLF follow. */
export function writeChunkHead(out: ByteWriter, length: number): void {
  put(out, out.at, length.toString(16));
  endLine(out);
}

/** Appends the line ending behind a chunk's data. */
export function writeChunkEnd(out: ByteWriter): void {
  out.ensure(slack);
  endLine(out);
}

/** Appends the end of a chunked body: the last chunk and the trailers (flat, or null). */
export function writeLastChunk(out: ByteWriter, trailers: readonly string[] | null): void {
  const start = out.at;
  put(out, start, "0");
  endLine(out);
  const marks = trailers === null ? 0 : putFields(out, start, trailers, false);
  finish(out, start, marks & ~hasTe, false, "", "");
}

/** Room that is always kept behind a text: line endings and separators need no look of their own. */
const slack = 8;

/** What putFields came across. */
const hasHost = 1;
const hasTe = 2;

function put(out: ByteWriter, start: number, text: string): void {
  out.ensure(text.length + slack);
  if (appendText(out, text, valueBytes)) return;
  out.at = start;
  throw new ProxyError("internal", "control character or non-latin1 text in an outgoing head");
}

function endLine(out: ByteWriter): void {
  const { bytes } = out;
  bytes[out.at++] = cr;
  bytes[out.at++] = lf;
}

function putField(out: ByteWriter, start: number, name: string, value: string): void {
  put(out, start, name);
  const { bytes } = out;
  bytes[out.at++] = colon;
  bytes[out.at++] = space;
  put(out, start, value);
  endLine(out);
}

/** Adds a flat list; without Content-Length when the body is chunked: both together are a smuggling attempt. */
function putFields(out: ByteWriter, start: number, headers: readonly string[], isChunked: boolean): number {
  let marks = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const { length } = name;
    if (length === 4) marks |= nameIs(name, "host") ? hasHost : 0;
    else if (length === 2) marks |= nameIs(name, "te") ? hasTe : 0;
    else if (length === 14 && isChunked && nameIs(name, "content-length")) continue;
    putField(out, start, name, headers[i + 1] as string);
  }
  return marks;
}

/** Adds what concerns this connection only, and the empty line. */
function finish(
  out: ByteWriter,
  start: number,
  marks: number,
  isChunked: boolean,
  connection: string,
  upgrade: string,
): void {
  if (isChunked) putField(out, start, "Transfer-Encoding", "chunked");
  if (upgrade !== "") putField(out, start, "Upgrade", upgrade);
  // A connection that changes its protocol has no close or keep-alive of HTTP's.
  let options = upgrade === "" ? connection : "upgrade";
  // Whoever sends TE says so (RFC 9110 §10.1.4).
  if ((marks & hasTe) !== 0) options = options === "" ? "TE" : `${options}, TE`;
  if (options !== "") putField(out, start, "Connection", options);
  out.ensure(slack);
  endLine(out);
}
