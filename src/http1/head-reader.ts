import { tokenBytes } from "../traffic/field-syntax.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { Http1Limits } from "./limits.js";
import { malformed, tooLarge, type MessageKind } from "./refusal.js";

const headEnd = Buffer.from("\r\n\r\n");
const initialCapacity = 1024;
const cr = 0x0d;
const lf = 0x0a;
/** Empty lines before a request line that are ignored (RFC 9112 §2.2 asks for at least one): two CRLF. */
const maxLeadingBytes = 4;

/**
 * Collects slices until a whole head is there. A head that lies within one slice, the common case, is found by one search
 * and never copied; otherwise bytes are copied into a buffer that grows up to the limit, and each byte is looked at once,
 * however small the slices are.
 */
export class HeadReader {
  /** The head found by the last push, latin1: start line to the empty line. Also set, as far as known, on errors. */
  text = "";
  readonly #limits: Http1Limits;
  readonly #kind: MessageKind;
  #kept: Buffer | null = null;
  #length = 0;
  /** How much of CR LF CR LF the kept bytes end with. */
  #matched = 0;
  #leading = 0;
  /** Length of the first line, once it is complete and while it was not looked at; -1 = it was, or there is none. */
  #lineLength = 0;
  readonly #hasStartLine: boolean;

  /** @param hasStartLine false for sections that are fields only. */
  constructor(limits: Http1Limits, kind: MessageKind, hasStartLine = true) {
    this.#limits = limits;
    this.#kind = kind;
    this.#hasStartLine = hasStartLine;
    this.#forget();
  }

  /** No byte of a head was kept: between messages. Empty lines before a request do not count. */
  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /**
   * Takes chunk[from..]. Gives the offset after the head's end inside `chunk`, or -1 when more is needed; then the bytes
   * were kept and `chunk` is not referenced. Throws ProxyError when the head is over its limit, or when what came can never
   * become one: waiting for the timer would only hold the connection open.
   */
  push(chunk: Buffer, from: number): number {
    if (this.#length === 0) {
      if (this.#kind === "request") from = this.#skipEmptyLines(chunk, from);
      if (from >= chunk.length) return -1;
      if (tokenBytes[chunk[from] as number] !== 1) {
        throw malformed(this.#kind, `not HTTP/1: ${beginningOf(chunk[from] as number)}`);
      }
      const found = chunk.indexOf(headEnd, from);
      if (found >= 0) {
        const end = found + 4;
        const size = end - from;
        this.text = chunk.toString("latin1", from, Math.min(end, from + this.#limits.maxHeadBytes));
        if (size > this.#limits.maxHeadBytes) throw this.#overLimit();
        this.#leading = 0;
        return end;
      }
    }
    return this.#keep(chunk, from);
  }

  /** Forgets everything, as after construction. Also worth a call once `text` is parsed: it may be 64 KiB. */
  reset(): void {
    this.text = "";
    this.#forget();
  }

  #forget(): void {
    this.#kept = null;
    this.#length = 0;
    this.#matched = 0;
    this.#leading = 0;
    this.#lineLength = this.#hasStartLine ? 0 : -1;
  }

  #skipEmptyLines(chunk: Buffer, from: number): number {
    for (; from < chunk.length; from++) {
      const expected = this.#leading % 2 === 0 ? cr : lf;
      if (chunk[from] !== expected) break;
      if (++this.#leading > maxLeadingBytes)
        throw malformed(this.#kind, "too many empty lines before a request");
    }
    if (from < chunk.length && this.#leading % 2 === 1) {
      throw malformed(this.#kind, "carriage return without line feed before a request");
    }
    return from;
  }

  #keep(chunk: Buffer, from: number): number {
    const end = this.#scan(chunk, from);
    const stop = end < 0 ? chunk.length : end;
    const size = stop - from;
    const room = this.#limits.maxHeadBytes - this.#length;
    this.#append(chunk, from, Math.min(stop, from + room));
    if (size > room || (end < 0 && size === room)) {
      this.text = this.#keptText();
      throw this.#overLimit();
    }
    if (end < 0) {
      if (this.#lineLength > 0) this.#lookAtFirstLine();
      return -1;
    }
    this.text = this.#keptText();
    this.#forget();
    return end;
  }

  /** Another protocol that has lines: whoever speaks it waits for an answer, not for the end of a head. */
  #lookAtFirstLine(): void {
    const line = this.#keptText().slice(0, this.#lineLength);
    this.#lineLength = -1;
    const isRequest = this.#kind === "request";
    if (isRequest ? line.includes(" HTTP/") : line.startsWith("HTTP/")) return;
    const what = isRequest ? "request" : "status";
    throw malformed(
      this.#kind,
      `not HTTP/1: it begins without a ${what} line; correct the service's protocol`,
    );
  }

  /** Looks for the end of the head; refuses bytes that no head can contain. */
  #scan(chunk: Buffer, from: number): number {
    let matched = this.#matched;
    const stop = Math.min(chunk.length, from + this.#limits.maxHeadBytes);
    for (let i = from; i < stop; i++) {
      const byte = chunk[i] as number;
      if (byte === lf) {
        if (matched % 2 === 0) throw malformed(this.#kind, "line feed without carriage return");
        if (this.#lineLength === 0) this.#lineLength = this.#length + i + 1 - from;
        if (++matched === 4) return i + 1;
        continue;
      }
      if (matched % 2 === 1) throw malformed(this.#kind, "carriage return without line feed");
      if (byte === cr) matched++;
      else if (byte < 0x20 && byte !== 0x09) throw malformed(this.#kind, "control character in the head");
      else matched = 0;
    }
    this.#matched = matched;
    return -1;
  }

  #append(chunk: Buffer, from: number, to: number): void {
    const length = this.#length + to - from;
    if (this.#kept === null || this.#kept.length < length) {
      const capacity = Math.max(length, initialCapacity, 2 * (this.#kept?.length ?? 0));
      const larger = Buffer.allocUnsafeSlow(Math.min(capacity, this.#limits.maxHeadBytes));
      this.#kept?.copy(larger, 0, 0, this.#length);
      this.#kept = larger;
    }
    chunk.copy(this.#kept, this.#length, from, to);
    this.#length = length;
  }

  #keptText(): string {
    return this.#kept?.toString("latin1", 0, this.#length) ?? "";
  }

  /** Of a request whose target alone is too long, that is what to say (RFC 9110 §15.5.15). */
  #overLimit(): ProxyError {
    this.#forget();
    const { maxHeadBytes, maxTargetBytes } = this.#limits;
    if (this.#kind === "request") {
      const lineEnd = this.text.indexOf("\r\n");
      if ((lineEnd < 0 ? this.text.length : lineEnd) > maxTargetBytes) {
        return new ProxyError("uri_too_long", `request target is over ${maxTargetBytes} bytes`);
      }
    }
    return tooLarge(this.#kind, `head is over ${maxHeadBytes} bytes`);
  }
}

/** In words that lead to the cause, by the first byte of what can be no message. */
function beginningOf(byte: number): string {
  // A SETTINGS frame has a length of few bytes (RFC 9113 §4.1); a handshake record begins with 22, an alert with 21 (RFC 8446 §5.1).
  if (byte === 0) return "it begins like HTTP/2; correct the service's protocol";
  if (byte === 22 || byte === 21)
    return "it begins like TLS, which is Remora's business: use the plaintext port";
  return "the first byte cannot begin a message";
}
