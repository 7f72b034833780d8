import type { ProxyError } from "../errors/proxy-error.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import type { BodySource } from "../traffic/body.js";
import { getHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import type { MessageWriter } from "./message-writer.js";
import type { OutputQueue } from "./output-queue.js";
import type { ParsedRequest } from "./request-head.js";
import { responseHeadText } from "./serialize.js";

/** What an exchange needs from its connection. */
export interface ExchangeHost {
  readonly isDraining: boolean;
  /** Bytes of the request's body have not arrived yet. */
  readonly hasBodyLeft: boolean;
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
  /** The final head was written. */
  isStarted = false;
  call: Call = endedCall;

  constructor(host: ExchangeHost, out: OutputQueue, writer: MessageWriter, parsed: ParsedRequest) {
    this.#host = host;
    this.#out = out;
    this.#writer = writer;
    this.#parsed = parsed;
    this.#keepAlive = parsed.keepAlive;
  }

  /** The service's call, unless it ended before it returned. */
  begin(call: Call): void {
    if (!this.#isDone) this.call = call;
  }

  informational(head: ResponseHead): void {
    // RFC 9110 §15.2: never to an HTTP/1.0 client.
    if (this.#isDone || this.isStarted || this.#parsed.head.version === "1.0") return;
    this.#out.text(responseHeadText(head, { chunked: false, connection: "", upgrade: "" }));
  }

  head(head: ResponseHead, body: BodySource | null): void {
    if (this.#isDone) return;
    this.isStarted = true;
    const isOldClient = this.#parsed.head.version === "1.0";
    const isUnframed = body !== null && body.length < 0;
    const isChunked = isUnframed && !isOldClient;
    if ((isUnframed && isOldClient) || this.#host.isDraining) this.#keepAlive = false;
    // A reply made while the client still waits for 100, or made here without reading the body: the rest is not read.
    if (this.#host.hasBodyLeft && (this.#parsed.expectsContinue || head.status >= 400))
      this.#keepAlive = false;
    if (body === null) this.#frameEmpty(head);
    const connection = !this.#keepAlive ? "close" : isOldClient ? "keep-alive" : "";
    this.#writer.send(
      responseHeadText(head, { chunked: isChunked, connection, upgrade: "" }),
      body,
      isChunked,
    );
  }

  end(error: ProxyError | null): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.call = endedCall;
    if (error !== null || !this.isStarted) this.#host.exchangeBroken(this);
    else this.#host.exchangeEnded(this, this.#keepAlive);
  }

  /** The connection is gone: ends the call, and nothing is written any more. */
  abandon(error: ProxyError): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#writer.cancel(error);
    this.call.cancel(error);
  }

  /** Without a body the length must still be told, or the client would wait for more (RFC 9112 §6.3). */
  #frameEmpty(head: ResponseHead): void {
    if (this.#parsed.head.method === "HEAD" || head.status === 204 || head.status === 304) return;
    if (getHeader(head.headers, "content-length") === undefined) head.headers.push("Content-Length", "0");
  }
}
