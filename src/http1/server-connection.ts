import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import { RequestContext } from "../stack/request-context.js";
import type { ServerTimeouts } from "../stack/server-timeouts.js";
import type { Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import { setHeader } from "../traffic/headers.js";
import type { LocalReply, RequestHead } from "../traffic/message.js";
import { ChunkedDecoder } from "./chunked-decoder.js";
import { HeadReader } from "./head-reader.js";
import { IncomingBody, type BodyInlet } from "../traffic/incoming-body.js";
import type { Http1Limits } from "./limits.js";
import { MessageWriter, type WriterOwner } from "./message-writer.js";
import { OutputQueue } from "../traffic/output-queue.js";
import { parseRequestHead, type ParsedRequest } from "./request-head.js";
import { responseHeadText } from "./serialize.js";
import { ServerExchange, type ExchangeHost } from "./server-exchange.js";

export interface ServerConnectionOptions {
  readonly service: Service;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly limits: Http1Limits;
  readonly timeouts: ServerTimeouts;
  /** SPIFFE id of the peer, verified before the connection was handed over. */
  readonly peerId: string | undefined;
  /** Makes the reply to a request that could not be read; null = close without one. */
  readonly refuse: (error: ProxyError) => LocalReply | null;
  readonly onClose: (connection: Http1ServerConnection) => void;
}

/** Pipelined bytes that are kept while a request is under way; beyond them the socket is not read. */
const maxSurplusBytes = 64 * 1024;

/**
 * The server side of one HTTP/1.1 connection (RFC 9112): reads requests one after the other, calls the service, writes the
 * replies in order. Requests that arrive early (pipelined) wait unread.
 */
export class Http1ServerConnection implements BodyInlet, ExchangeHost, WriterOwner {
  readonly #socket: Socket;
  readonly #options: ServerConnectionOptions;
  readonly #out: OutputQueue;
  readonly #writer: MessageWriter;
  readonly #reader: HeadReader;
  readonly #remoteAddress: string;
  #decoder: ChunkedDecoder | null = null;
  #state: "head" | "exchange" | "lingering" | "closed" = "head";
  #exchange: ServerExchange | null = null;
  #request: RequestContext | null = null;
  #body: IncomingBody | null = null;
  /** Bytes of the body being received that are still to come; -1 = chunked; 0 = none or complete. */
  #bodyLeft = 0;
  /** What was read beyond the present request. */
  #surplus: Buffer | null = null;
  #activeAtMs: number;
  /** When the first byte of an unfinished head came; -1 = none has. */
  #headSinceMs = -1;
  #timer: WheelTimer;
  isDraining = false;
  readonly #pushSlice = (slice: Buffer): void => this.#body?.push(slice);

  constructor(socket: Socket, options: ServerConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#out = new OutputQueue(socket, () => this.#room());
    this.#writer = new MessageWriter(this.#out, this);
    this.#reader = new HeadReader(options.limits, "request");
    this.#remoteAddress = `${socket.remoteAddress ?? ""}:${socket.remotePort ?? 0}`;
    this.#activeAtMs = options.clock.monotonicMs();
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("end", () => this.#peerEnded());
    socket.on("error", () => this.#socket.destroy());
    socket.on("close", () => this.#closed());
    this.#timer = this.#watch(options.timeouts.headMs);
    // Reset before it was handed over: its events are past.
    if (socket.destroyed) setImmediate(() => this.#closed());
  }

  /** Lets the request under way finish, then closes; closes at once when there is none. */
  drain(): void {
    this.isDraining = true;
    if (this.#state === "head" && this.#headSinceMs < 0 && this.#surplus === null) this.#linger();
  }

  /** Ends everything now. */
  destroy(): void {
    this.#socket.destroy();
  }

  get hasBodyLeft(): boolean {
    return this.#bodyLeft !== 0;
  }

  get isBodyWanted(): boolean {
    return this.#body?.isAttached === true;
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    if (this.#surplus === null) this.#socket.resume();
  }

  bodyCancelled(): void {
    // Nobody wants the rest of the upload: it stays unread until the end of the exchange says what becomes of it.
    if (this.#state === "exchange") this.#socket.pause();
  }

  wroteSome(bytes: number): void {
    this.#activeAtMs = this.#options.clock.monotonicMs();
    if (this.#request !== null) this.#request.responseBytes += bytes;
  }

  bodyWritten(): void {}

  bodyFailed(): void {}

  #read(chunk: Buffer): void {
    this.#activeAtMs = this.#options.clock.monotonicMs();
    if (this.#surplus !== null || (this.#state === "head" && this.#out.isFull)) this.#keepSurplus(chunk);
    else if (this.#state === "head") this.#readHead(chunk, 0);
    else if (this.#state === "exchange") this.#readBody(chunk, 0);
  }

  #readHead(chunk: Buffer, from: number): void {
    let parsed: ParsedRequest;
    let at: number;
    try {
      at = this.#reader.push(chunk, from);
      if (at < 0) {
        if (this.#headSinceMs < 0 && !this.#reader.isEmpty) this.#headBegan();
        return;
      }
      parsed = parseRequestHead(this.#reader.text, this.#options.limits);
    } catch (error) {
      return this.#refuse(asProxyError(error));
    }
    this.#reader.reset();
    this.#headSinceMs = -1;
    this.#begin(parsed, chunk, at);
  }

  #headBegan(): void {
    this.#headSinceMs = this.#activeAtMs;
    this.#timer.cancel();
    this.#timer = this.#watch(this.#options.timeouts.headMs);
  }

  #begin(parsed: ParsedRequest, chunk: Buffer, from: number): void {
    const framing = parsed.framing;
    this.#state = "exchange";
    this.#body = null;
    this.#bodyLeft = 0;
    if (framing.kind === "chunked") {
      this.#decoder ??= new ChunkedDecoder(this.#options.limits, "request");
      this.#decoder.reset();
      this.#bodyLeft = -1;
      this.#body = new IncomingBody(-1, this);
    } else if (framing.kind === "length" && framing.length > 0) {
      this.#bodyLeft = framing.length;
      this.#body = new IncomingBody(framing.length, this);
    }
    if (parsed.head.authority === "") this.#nameHost(parsed.head);
    const request = new RequestContext(
      parsed.head,
      this.#body,
      this.#activeAtMs,
      this.#remoteAddress,
      this.#options.peerId,
    );
    const exchange = new ServerExchange(this, this.#out, this.#writer, parsed);
    this.#exchange = exchange;
    this.#request = request;
    // Bytes that came with the head are there before the service looks for them.
    if (from < chunk.length) this.#readBody(chunk, from);
    if (this.#exchange === exchange) exchange.begin(this.#options.service.call(request, exchange));
  }

  /** HTTP/1.0 without Host: whoever is meant, it was us who was asked, and HTTP/1.1 upstreams want a name. */
  #nameHost(head: RequestHead): void {
    const { localAddress = "", localPort = 0 } = this.#socket;
    head.authority = localAddress.includes(":")
      ? `[${localAddress}]:${localPort}`
      : `${localAddress}:${localPort}`;
    setHeader(head.headers, "Host", head.authority);
  }

  #readBody(chunk: Buffer, from: number): void {
    const body = this.#body;
    const request = this.#request;
    let at = from;
    if (body !== null && this.#bodyLeft > 0) {
      const take = Math.min(this.#bodyLeft, chunk.length - at);
      this.#bodyLeft -= take;
      body.push(take === chunk.length ? chunk : chunk.subarray(at, at + take));
      at += take;
      if (this.#bodyLeft === 0) this.#bodyComplete(body, null);
    } else if (body !== null && this.#bodyLeft < 0) {
      const decoder = this.#decoder as ChunkedDecoder;
      try {
        at = decoder.feed(chunk, at, this.#pushSlice);
      } catch (error) {
        return this.#badBody(body, asProxyError(error));
      }
      if (decoder.isDone) this.#bodyComplete(body, decoder.trailers);
    }
    if (request !== null) request.requestBytes += at - from;
    if (at >= chunk.length) return;
    // The exchange may have ended while its body was read: then the surplus waits for its turn like any other.
    const isBetween = this.#state === "head" && this.#surplus === null;
    this.#keepSurplus(chunk.subarray(at));
    if (isBetween) setImmediate(() => this.#readSurplus());
  }

  #bodyComplete(body: IncomingBody, trailers: readonly string[] | null): void {
    this.#bodyLeft = 0;
    this.#body = null;
    // Keep reading: only a reading socket hears that its client went away.
    this.#socket.resume();
    body.complete(trailers);
  }

  /** A pipelined request, or bytes after the end of the last one. Reading goes on for a while: it alone hears a close. */
  #keepSurplus(bytes: Buffer): void {
    if (this.#state !== "exchange" && this.#state !== "head") return;
    this.#surplus = this.#surplus === null ? bytes : Buffer.concat([this.#surplus, bytes]);
    if (this.#surplus.length >= maxSurplusBytes) this.#socket.pause();
  }

  /** The client broke the framing of its own body: nothing after it can be trusted. */
  #badBody(body: IncomingBody, error: ProxyError): void {
    const exchange = this.#exchange;
    this.isDraining = true;
    body.breakOff(error);
    if (this.#exchange !== exchange || exchange === null) return;
    if (exchange.isStarted) return this.exchangeBroken(exchange);
    exchange.abandon(error);
    this.#refuse(error);
  }

  exchangeEnded(exchange: ServerExchange, keepAlive: boolean): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = null;
    if (this.#state === "closed") return;
    if (this.#bodyLeft !== 0 || !keepAlive || this.isDraining) return this.#linger();
    this.#state = "head";
    this.#activeAtMs = this.#options.clock.monotonicMs();
    // In a turn of its own: a long pipeline must not grow the stack.
    if (this.#surplus !== null) setImmediate(() => this.#readSurplus());
  }

  #readSurplus(): void {
    const surplus = this.#surplus;
    // A client that does not read its replies gets no further ones until it does: room() comes back here.
    if (this.#state !== "head" || surplus === null || this.#out.isFull) return;
    this.#surplus = null;
    this.#activeAtMs = this.#options.clock.monotonicMs();
    this.#socket.resume();
    this.#readHead(surplus, 0);
  }

  exchangeBroken(exchange: ServerExchange): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = null;
    this.#out.flush();
    // Cut off without a clean end: RST for plain TCP, no close_notify for TLS (RFC 9112 §8).
    if ("encrypted" in this.#socket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #refuse(error: ProxyError): void {
    this.#exchange = null;
    const reply = this.#options.refuse(error);
    if (reply !== null) {
      this.#out.text(responseHeadText(reply.head, { chunked: false, connection: "close", upgrade: "" }));
      this.#out.write(reply.body);
      this.#out.flush();
    }
    this.#linger();
  }

  /**
   * Ends our side, then swallows what still comes: closing over unread bytes sends a reset, which may destroy the reply
   * before the client has read it (RFC 9112 §9.6).
   */
  #linger(): void {
    if (this.#state === "closed" || this.#state === "lingering") return;
    this.#state = "lingering";
    this.#surplus = null;
    this.#body = null;
    this.#timer.cancel();
    this.#out.flush();
    const { lingerMs, streamIdleMs } = this.#options.timeouts;
    this.#timer = this.#options.wheel.add(streamIdleMs, { onTimer: () => this.#socket.destroy() });
    // The short time runs from when all is handed to the kernel: a slow reader must not lose the end of its reply.
    this.#socket.end(() => {
      if (this.#state === "lingering") this.#timer.restart(lingerMs);
    });
    this.#socket.resume();
  }

  /** FIN: nobody waits for a reply any more, so work under way is given up. What was answered is still delivered. */
  #peerEnded(): void {
    if (this.#state === "exchange") this.#socket.destroy();
    else this.#linger();
  }

  #room(): void {
    if (this.#state === "head") this.#readSurplus();
    else this.#writer.room();
  }

  #closed(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#timer.cancel();
    this.#out.discard();
    const error = new ProxyError(
      "client_gone",
      "client closed the connection before the response was complete",
    );
    this.#body?.breakOff(error);
    this.#exchange?.abandon(error);
    this.#body = null;
    this.#exchange = null;
    this.#options.onClose(this);
  }

  /** One timer per connection that looks what is due, so that a request costs no timer. */
  #watch(delayMs: number): WheelTimer {
    const { streamIdleMs, idleMs } = this.#options.timeouts;
    const delay = Math.max(1, Math.min(delayMs, streamIdleMs, idleMs));
    return this.#options.wheel.add(delay, { onTimer: () => this.#onTimer() });
  }

  #onTimer(): void {
    if (this.#state === "closed" || this.#state === "lingering") return;
    const { timeouts, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const dueMs = this.#dueMs();
    if (nowMs < dueMs) {
      this.#timer = this.#watch(dueMs - nowMs);
    } else if (this.#state === "exchange") {
      this.#timer = this.#watch(timeouts.streamIdleMs);
      const text = `no byte in either direction for ${timeouts.streamIdleMs} ms`;
      this.#exchange?.call.cancel(new ProxyError("stream_idle_timeout", text));
    } else if (this.#headSinceMs >= 0) {
      this.#refuse(
        new ProxyError("request_timeout", `request head not complete after ${timeouts.headMs} ms`),
      );
    } else {
      this.#linger();
    }
  }

  #dueMs(): number {
    const { timeouts } = this.#options;
    if (this.#state === "exchange") return this.#activeAtMs + timeouts.streamIdleMs;
    if (this.#headSinceMs >= 0) return this.#headSinceMs + timeouts.headMs;
    return this.#activeAtMs + timeouts.idleMs;
  }
}

function asProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  return new ProxyError("internal", "unexpected failure while reading a request", { cause: error });
}
