import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import { RequestContext } from "../stack/request-context.js";
import { streamIdleText, type ServerTimeouts } from "../stack/server-timeouts.js";
import type { Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import { setHeader } from "../traffic/headers.js";
import { SocketReader } from "../traffic/socket-reader.js";
import type { IncomingBody } from "../traffic/incoming-body.js";
import type { LocalReply, RequestHead } from "../traffic/message.js";
import { OutputQueue } from "../traffic/output-queue.js";
import { BodyReader, type BodyReaderOwner } from "./body-reader.js";
import { ConnectionWatch, type WatchOwner } from "./connection-watch.js";
import { bodyUntilClose } from "./framing.js";
import { HeadReader } from "./head-reader.js";
import type { Http1Limits } from "./limits.js";
import { MessageWriter, type WriterOwner } from "./message-writer.js";
import { parseRequestHead, type ParsedRequest } from "./request-head.js";
import { writeResponseHead } from "./serialize.js";
import { ServerExchange, type ExchangeHost } from "./server-exchange.js";
import { ServerTunnel } from "./server-tunnel.js";

export interface ServerConnectionOptions {
  readonly service: Service;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly limits: Http1Limits;
  readonly timeouts: ServerTimeouts;
  /** SPIFFE id of the peer, verified before the connection was handed over. */
  readonly peerId: string | undefined;
  /** SHA-256 of its certificate. */
  readonly peerHash?: string;
  /** Makes the reply to a request that could not be read; null = close without one. */
  readonly refuse: (error: ProxyError) => LocalReply | null;
  readonly onClose: (connection: Http1ServerConnection) => void;
}

/** Pipelined bytes that are kept while a request is under way; beyond them the socket is not read. */
const maxSurplusBytes = 64 * 1024;

/**
 * The server side of one HTTP/1.1 connection (RFC 9112): reads requests one after the other, calls the service, writes the
 * replies in order. Requests that arrive early (pipelined) wait unread. A reply with status 101 makes it a tunnel for good.
 */
export class Http1ServerConnection implements BodyReaderOwner, ExchangeHost, WatchOwner, WriterOwner {
  readonly #socket: Socket;
  readonly #options: ServerConnectionOptions;
  readonly #input: SocketReader;
  readonly #out: OutputQueue;
  readonly #writer: MessageWriter;
  readonly #reader: HeadReader;
  readonly #bodyReader: BodyReader;
  readonly #watch: ConnectionWatch;
  readonly #remoteAddress: string;
  #state: "head" | "exchange" | "tunnel" | "lingering" | "closed" = "head";
  #exchange: ServerExchange | null = null;
  #request: RequestContext | null = null;
  /** What the client sends into the tunnel it asked for. */
  #toTunnel: IncomingBody | null = null;
  #tunnel: ServerTunnel | null = null;
  /** What was read beyond the present request. */
  #surplus: Buffer | null = null;
  #lingerTimer: WheelTimer | null = null;
  isDraining = false;
  readonly #onEnd = (): void => this.#peerEnded();
  readonly #onError = (): void => void this.#socket.destroy();
  readonly #onClose = (): void => this.#closed();

  constructor(socket: Socket, options: ServerConnectionOptions) {
    const { wheel, clock, limits, timeouts } = options;
    this.#socket = socket;
    this.#options = options;
    this.#out = new OutputQueue(socket, () => this.#room());
    this.#writer = new MessageWriter(this.#out, this);
    this.#reader = new HeadReader(limits, "request");
    this.#bodyReader = new BodyReader(limits, "request", this);
    this.#watch = new ConnectionWatch(wheel, clock, timeouts, this);
    this.#remoteAddress = `${socket.remoteAddress ?? ""}:${socket.remotePort ?? 0}`;
    socket.setNoDelay(true);
    this.#input = new SocketReader(socket, (chunk, isLent) => this.#read(chunk, isLent));
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    // Reset before it was handed over: its events are past.
    if (socket.destroyed) setImmediate(this.#onClose);
  }

  /** Lets the request under way finish, then closes; closes at once when there is none. */
  drain(): void {
    this.isDraining = true;
    if (this.#state === "head" && !this.#watch.isInHead && this.#surplus === null) this.#linger();
  }

  /** Ends everything now. */
  destroy(): void {
    if (this.#tunnel !== null) this.#tunnel.reset(new ProxyError("draining", "the sidecar is closing"));
    else this.#socket.destroy();
  }

  get isBusy(): boolean {
    return this.#state === "exchange";
  }

  get hasBodyLeft(): boolean {
    return this.#bodyReader.hasMore;
  }

  get isBodyWanted(): boolean {
    return this.#bodyReader.isWanted;
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    if (this.#surplus === null) this.#socket.resume();
  }

  bodyCancelled(error: ProxyError): void {
    // Nobody wants the rest of the upload: it stays unread until the end of the exchange says what becomes of it.
    // A tunnel that will not be opened is thrown away as it comes: only a reading socket hears that its client went away.
    if (this.#tunnel !== null) this.#tunnel.bodyCancelled(error);
    else if (this.#toTunnel !== null) this.#socket.resume();
    else if (this.#state === "exchange") this.#socket.pause();
  }

  bodyArrived(): void {
    // Keep reading: only a reading socket hears that its client went away.
    this.#socket.resume();
  }

  wroteSome(bytes: number): void {
    this.#watch.touch();
    if (this.#request !== null) this.#request.responseBytes += bytes;
  }

  bodyWritten(): void {}

  bodyFailed(): void {}

  #read(chunk: Buffer, isLent: boolean): void {
    this.#watch.touch();
    if (this.#surplus === null && this.#state === "head" && !this.#out.isFull) this.#readHead(chunk, isLent);
    else {
      const own = isLent ? Buffer.from(chunk) : chunk;
      if (this.#surplus !== null || this.#state === "head") this.#keepSurplus(own);
      else if (this.#state === "exchange") this.#readBody(own, 0);
    }
  }

  /** What is not part of the head must be our own before it is passed on. */
  #readHead(chunk: Buffer, isLent: boolean): void {
    let parsed: ParsedRequest;
    let at: number;
    try {
      at = this.#reader.push(chunk, 0);
      if (at < 0) {
        if (!this.#reader.isEmpty) this.#watch.headBegan();
        return;
      }
      parsed = parseRequestHead(this.#reader.text, this.#options.limits);
    } catch (error) {
      return this.#refuse(asProxyError(error));
    }
    this.#reader.reset();
    this.#watch.headCame();
    if (isLent && at < chunk.length) this.#begin(parsed, Buffer.from(chunk.subarray(at)), 0);
    else this.#begin(parsed, chunk, at);
  }

  #begin(parsed: ParsedRequest, chunk: Buffer, from: number): void {
    this.#state = "exchange";
    const isTunnel = parsed.head.upgrade !== "";
    const body = this.#bodyReader.begin(isTunnel ? bodyUntilClose : parsed.framing);
    this.#toTunnel = isTunnel ? body : null;
    if (parsed.head.authority === "") this.#nameHost(parsed.head);
    const request = new RequestContext(
      parsed.head,
      body,
      this.#watch.activeAtMs,
      this.#remoteAddress,
      this.#options.peerId,
    );
    request.peerHash = this.#options.peerHash ?? "";
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
    const request = this.#request;
    let at: number;
    try {
      at = this.#bodyReader.feed(chunk, from);
    } catch (error) {
      return this.#badBody(asProxyError(error));
    }
    if (request !== null) request.requestBytes += at - from;
    if (at >= chunk.length) return;
    // The exchange may have ended while its body was read: then the surplus waits for its turn like any other.
    const isBetween = this.#state === "head" && this.#surplus === null;
    this.#keepSurplus(chunk.subarray(at));
    if (isBetween) setImmediate(() => this.#readSurplus());
  }

  /** A pipelined request, or bytes after the end of the last one. Reading goes on for a while: it alone hears a close. */
  #keepSurplus(bytes: Buffer): void {
    if (this.#state !== "exchange" && this.#state !== "head") return;
    this.#surplus = this.#surplus === null ? bytes : Buffer.concat([this.#surplus, bytes]);
    if (this.#surplus.length >= maxSurplusBytes) this.#socket.pause();
  }

  /** The client broke the framing of its own body: nothing after it can be trusted. */
  #badBody(error: ProxyError): void {
    const exchange = this.#exchange;
    this.isDraining = true;
    this.#bodyReader.breakOff(error);
    if (this.#exchange !== exchange || exchange === null) return;
    if (exchange.isStarted) return this.exchangeBroken(exchange);
    exchange.abandon(error);
    this.#refuse(error);
  }

  exchangeEnded(exchange: ServerExchange, keepAlive: boolean): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = null;
    if (this.#tunnel !== null) return this.#tunnel.callEnded(false);
    if (this.#state === "closed") return;
    if (this.#bodyReader.hasMore || !keepAlive || this.isDraining) return this.#linger();
    this.#state = "head";
    this.#watch.touch();
    // In a turn of its own: a long pipeline must not grow the stack.
    if (this.#surplus !== null) setImmediate(() => this.#readSurplus());
  }

  #readSurplus(): void {
    const surplus = this.#surplus;
    // A client that does not read its replies gets no further ones until it does: room() comes back here.
    if (this.#state !== "head" || surplus === null || this.#out.isFull) return;
    this.#surplus = null;
    this.#watch.touch();
    this.#socket.resume();
    this.#readHead(surplus, false);
  }

  exchangeBroken(exchange: ServerExchange): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = null;
    if (this.#tunnel !== null) return this.#tunnel.callEnded(true);
    this.#out.flush();
    // Cut off without a clean end: RST for plain TCP, no close_notify for TLS (RFC 9112 §8).
    if ("encrypted" in this.#socket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  /** The 101 was queued: from here on the connection's bytes belong to its two ends. */
  openTunnel(source: BodySource): void {
    const socket = this.#socket;
    this.#state = "tunnel";
    this.#out.flush();
    this.#watch.stop();
    this.#bodyReader.forget();
    this.#input.stop();
    socket.off("end", this.#onEnd);
    socket.off("error", this.#onError);
    socket.off("close", this.#onClose);
    const { wheel, timeouts, onClose } = this.#options;
    this.#tunnel = new ServerTunnel(socket, {
      request: this.#request as RequestContext,
      incoming: this.#toTunnel as IncomingBody,
      exchange: this.#exchange as ServerExchange,
      wheel,
      lastWordsMs: timeouts.streamIdleMs,
      onClose: () => onClose(this),
    });
    this.#tunnel.sendFrom(source);
  }

  #refuse(error: ProxyError): void {
    this.#exchange = null;
    const reply = this.#options.refuse(error);
    if (reply !== null) {
      writeResponseHead(this.#out.open(), reply.head, { chunked: false, connection: "close", upgrade: "" });
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
    this.#bodyReader.forget();
    this.#watch.stop();
    this.#out.flush();
    const { lingerMs, streamIdleMs } = this.#options.timeouts;
    const timer = this.#options.wheel.add(streamIdleMs, { onTimer: () => this.#socket.destroy() });
    this.#lingerTimer = timer;
    // The short time runs from when all is handed to the kernel: a slow reader must not lose the end of its reply.
    this.#socket.end(() => {
      if (this.#state === "lingering") timer.restart(lingerMs);
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
    this.#watch.stop();
    this.#lingerTimer?.cancel();
    this.#out.discard();
    const error = new ProxyError(
      "client_gone",
      "client closed the connection before the response was complete",
    );
    this.#bodyReader.breakOff(error);
    this.#exchange?.abandon(error);
    this.#exchange = null;
    this.#options.onClose(this);
  }

  streamIdled(): void {
    if (this.#request?.hasOwnIdle === true) return;
    const text = streamIdleText(this.#options.timeouts.streamIdleMs);
    this.#exchange?.call.cancel(new ProxyError("stream_idle_timeout", text));
  }

  headLate(): void {
    const text = `request head not complete after ${this.#options.timeouts.headMs} ms`;
    this.#refuse(new ProxyError("request_timeout", text));
  }

  connectionIdled(): void {
    this.#linger();
  }
}

function asProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  return new ProxyError("internal", "unexpected failure while reading a request", { cause: error });
}
