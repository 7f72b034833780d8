import { ProxyError } from "../errors/proxy-error.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import type { BodySource } from "../traffic/body.js";
import { getHeader, removeHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import type { MessageWriter } from "./message-writer.js";
import type { OutputQueue } from "../traffic/output-queue.js";
import type { ParsedRequest } from "./request-head.js";
import { writeResponseHead } from "./serialize.js";
import { addAccept, keyOf } from "./websocket-key.js";

/** What an exchange needs from its connection. */
export interface ExchangeHost {
  readonly isDraining: boolean;
  /** Bytes of the request's body have not arrived yet. */
  readonly hasBodyLeft: boolean;
  /** Somebody takes the request's body. */
  readonly isBodyWanted: boolean;
  /** A 101 was queued: `source` is what the client receives from now on. */
  openTunnel(source: BodySource): void;
  /** The reply was queued to its last byte. */
  exchangeEnded(exchange: ServerExchange, keepAlive: boolean): void;
  /** The reply cannot be completed: the client must not take what it has for all of it. */
  exchangeBroken(exchange: ServerExchange): void;
}

/** One request and its reply on an HTTP/1.1 server connection. */
export class ServerExchange implements Reply {
  readonly #host: ExchangeHost;
  readonly #out: OutputQueue;
  readonly #writer: MessageWriter;
  readonly #parsed: ParsedRequest;
  #isDone = false;
  #keepAlive: boolean;
  /** The client waits for 100 and has not got it. */
  #owesContinue: boolean;
  /** The key of the client's WebSocket handshake. */
  readonly #acceptKey: string | undefined;
  /** The final head was written. */
  isStarted = false;
  call: Call = endedCall;

  constructor(host: ExchangeHost, out: OutputQueue, writer: MessageWriter, parsed: ParsedRequest) {
    this.#host = host;
    this.#out = out;
    this.#writer = writer;
    this.#parsed = parsed;
    this.#keepAlive = parsed.keepAlive;
    this.#owesContinue = parsed.expectsContinue;
    // Noted now: layers and codecs may change the head.
    this.#acceptKey = parsed.head.upgrade === "" ? undefined : keyOf(parsed.head);
  }

  /** The service's call, unless it ended before it returned. */
  begin(call: Call): void {
    if (!this.#isDone) this.call = call;
  }

  informational(head: ResponseHead): void {
    // RFC 9110 §15.2: never to an HTTP/1.0 client.
    if (this.#isDone || this.isStarted || this.#parsed.head.version === "1.0") return;
    if (head.status === 100) {
      // Once, and only to who asked: a retried attempt may bring it again.
      if (!this.#owesContinue) return;
      this.#owesContinue = false;
    }
    writeResponseHead(this.#out.open(), head, { chunked: false, connection: "", upgrade: "" });
  }

  head(head: ResponseHead, source: BodySource | null): void {
    if (this.#isDone) return;
    if (head.status === 101) return this.#switchProtocol(head, source);
    this.isStarted = true;
    const isOldClient = this.#parsed.head.version === "1.0";
    const body = source !== null && this.#isBodiless(head) ? null : source;
    const isUnframed = body !== null && body.length < 0;
    const isChunked = isUnframed && !isOldClient;
    if ((isUnframed && isOldClient) || this.#host.isDraining) this.#keepAlive = false;
    // A final reply while the client still waits for 100, or to a body that nobody reads on: the rest stays unread.
    if (this.#host.hasBodyLeft && (this.#owesContinue || head.status >= 400 || !this.#host.isBodyWanted))
      this.#keepAlive = false;
    if (body === null) this.#frameEmpty(head);
    if (source !== body) source?.cancel(bodyNotAllowed);
    const connection = !this.#keepAlive ? "close" : isOldClient ? "keep-alive" : "";
    writeResponseHead(this.#out.open(), head, { chunked: isChunked, connection, upgrade: "" });
    this.#writer.send(body, isChunked);
  }

  end(error: ProxyError | null): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.call = endedCall;
    if (error === null && this.isStarted) return this.#host.exchangeEnded(this, this.#keepAlive);
    this.#writer.cancel(error ?? noReply);
    this.#host.exchangeBroken(this);
  }

  /** The connection is gone: ends the call, and nothing is written any more. */
  abandon(error: ProxyError): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#writer.cancel(error);
    this.call.cancel(error);
  }

  #switchProtocol(head: ResponseHead, source: BodySource | null): void {
    const { upgrade } = this.#parsed.head;
    if (upgrade === "" || source === null) {
      source?.cancel(unaskedTunnel);
      this.call.cancel(unaskedTunnel);
      return this.end(unaskedTunnel);
    }
    this.isStarted = true;
    // Not allowed there (RFC 9110 §8.6), and other codecs may have let it in.
    removeHeader(head.headers, "content-length");
    if (this.#acceptKey !== undefined) addAccept(head.headers, this.#acceptKey);
    writeResponseHead(this.#out.open(), head, { chunked: false, connection: "", upgrade });
    this.#host.openTunnel(source);
  }

  /** What follows such a head is the next reply, whatever its fields say (RFC 9112 §6.3). */
  #isBodiless(head: ResponseHead): boolean {
    return this.#parsed.head.method === "HEAD" || head.status === 204 || head.status === 304;
  }

  /** Without a body the length must still be told, or the client would wait for more (RFC 9112 §6.3). */
  #frameEmpty(head: ResponseHead): void {
    if (this.#isBodiless(head)) return;
    if (getHeader(head.headers, "content-length") === undefined) head.headers.push("Content-Length", "0");
  }
}

/** Told to the source of a body that the method or status forbids: local replies to HEAD have one. */
const bodyNotAllowed = new ProxyError("client_gone", "the response has no body");
const unaskedTunnel = new ProxyError("internal", "status 101 to a request that asked for no tunnel");
const noReply = new ProxyError("internal", "the call ended without a response");
