import { ProxyError } from "../errors/proxy-error.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import { hasStrayControl } from "../traffic/field-syntax.js";
import { nameIs } from "../traffic/headers.js";
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

/**
 * The complete head of a request as HTTP/1.1, up to and with the empty line; write it as latin1. With `chunked` the body
 * must follow in chunks. Throws ProxyError internal when a name or value holds a line ending or another byte that no codec
 * lets in.
 */
export function requestHeadText(head: RequestHead, chunked: boolean, close: boolean, upgrade = ""): string {
  const fields = new FieldWriter(`${head.method} ${head.target} HTTP/1.1\r\n`);
  fields.addAll(head.headers, chunked);
  // HTTP/1.0 clients may leave it out, HTTP/1.1 servers may not do without (RFC 9112 §3.2).
  if (!fields.hasHost) fields.add("Host", head.authority);
  return fields.finish(chunked, close ? "close" : "", upgrade);
}

/** The complete head of a response as HTTP/1.1. Same rules as requestHeadText. */
export function responseHeadText(head: ResponseHead, options: ResponseHeadOptions): string {
  const reason = head.reason === "" ? reasonPhrase(head.status) : head.reason;
  const fields = new FieldWriter(`HTTP/1.1 ${head.status} ${reason}\r\n`);
  fields.addAll(head.headers, options.chunked);
  return fields.finish(options.chunked, options.connection, options.upgrade);
}

/** Size line of a chunk of `length` > 0 bytes. The data and then CRLF follow. */
export function chunkHead(length: number): string {
  return `${length.toString(16)}\r\n`;
}

/** End of a chunked body: the last chunk and the trailers (flat, or null). */
export function lastChunk(trailers: readonly string[] | null): string {
  if (trailers === null) return "0\r\n\r\n";
  const fields = new FieldWriter("0\r\n");
  fields.addAll(trailers, false);
  return fields.finish(false, "", "");
}

/** Appends field lines, and knows how many lines there should be in the end. */
class FieldWriter {
  hasHost = false;
  #text: string;
  #hasTe = false;
  #lines = 2;

  constructor(startLine: string) {
    this.#text = startLine;
  }

  /** Adds a flat list; without Content-Length when the body is chunked: both together are a smuggling attempt. */
  addAll(headers: readonly string[], isChunked: boolean): void {
    let text = this.#text;
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string;
      const { length } = name;
      if (length === 4) this.hasHost ||= nameIs(name, "host");
      else if (length === 2) this.#hasTe ||= nameIs(name, "te");
      else if (length === 14 && isChunked && nameIs(name, "content-length")) continue;
      text += name + ": " + (headers[i + 1] as string) + "\r\n";
      this.#lines++;
    }
    this.#text = text;
  }

  add(name: string, value: string): void {
    this.#text += name + ": " + value + "\r\n";
    this.#lines++;
  }

  /** Adds what concerns this connection only and the empty line; gives the checked text. */
  finish(isChunked: boolean, connection: string, upgrade: string): string {
    if (isChunked) this.add("Transfer-Encoding", "chunked");
    if (upgrade !== "") this.add("Upgrade", upgrade);
    const options = this.#connectionOptions(connection, upgrade);
    if (options !== "") this.add("Connection", options);
    const text = this.#text + "\r\n";
    if (!hasOnlyLines(text, this.#lines)) {
      throw new ProxyError("internal", "control character or non-latin1 text in an outgoing head");
    }
    return text;
  }

  #connectionOptions(connection: string, upgrade: string): string {
    // A connection that changes its protocol has no close or keep-alive of HTTP's.
    let options = upgrade === "" ? connection : "upgrade";
    // Whoever sends TE says so (RFC 9110 §10.1.4).
    if (this.#hasTe) options = options === "" ? "TE" : `${options}, TE`;
    return options;
  }
}

/**
 * Are line endings the only control characters of the text, and as many as there are lines? One more means that a name or
 * value holds one and the peer would see other lines, or another message, than we meant (CVE-2022-31150). Searches over
 * the whole are far cheaper than a look at each string.
 */
function hasOnlyLines(text: string, lines: number): boolean {
  if (hasStrayControl(text)) return false;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines--;
  return lines === 0;
}
