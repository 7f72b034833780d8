import type { Socket } from "node:net";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply } from "../stack/service.js";
import { isEndedByReset, unreadBytes } from "../traffic/broken-socket.js";
import { OutputQueue } from "../traffic/output-queue.js";
import { SocketTunnel, type SocketTunnelOwner } from "../traffic/socket-tunnel.js";
import { BodyReader, type BodyReaderOwner } from "./body-reader.js";
import { acceptUpgrade, upgradeOffer } from "./client-upgrade.js";
import { SocketReader } from "../traffic/socket-reader.js";
import { HeadReader } from "./head-reader.js";
import type { Http1Limits } from "./limits.js";
import { MessageWriter, type WriterOwner } from "./message-writer.js";
import { parseResponseHead, type ParsedResponse } from "./response-head.js";
import { writeRequestHead } from "./serialize.js";

export interface ClientConnectionOwner {
  /** The connection can take the next request. */
  connectionIdle(connection: Http1ClientConnection): void;
  /** The connection is gone. Told once, before the call it carried learns of it. */
  connectionClosed(connection: Http1ClientConnection): void;
}

/** More 1xx heads than this for one request are a peer that never answers. */
const maxInformational = 32;

/**
 * The client side of one HTTP/1.1 connection (RFC 9112): one request at a time. It is used again only when both messages
 * were complete and nothing unasked for arrived. A 101 to a request that asked for it makes it a tunnel for good.
 */
export class Http1ClientConnection implements BodyReaderOwner, SocketTunnelOwner, WriterOwner {
  readonly #socket: Socket;
  readonly #limits: Http1Limits;
  readonly #owner: ClientConnectionOwner;
  /** For error texts: who is at the other end. */
  readonly #peer: string;
  readonly #input: SocketReader;
  readonly #out: OutputQueue;
  readonly #writer: MessageWriter;
  readonly #reader: HeadReader;
  readonly #bodyReader: BodyReader;
  #request: RequestContext | null = null;
  #reply: Reply | null = null;
  #response: ParsedResponse | null = null;
  /** The Sec-WebSocket-Accept that a 101 has to bring; "" = none of ours. */
  #accept = "";
  #tunnel: SocketTunnel | null = null;
  #isRequestSent = false;
  #isReusable = true;
  #isClosed = false;
  /** Inside of reply.head(). */
  #isTellingHead = false;
  #informationals = 0;
  /** Bytes flushed and requests sent before the present one. */
  #bytesBefore = 0;
  #requests = 0;
  /** Monotonic milliseconds, kept by the pool. */
  idleSinceMs = 0;
  /** The server's own hint (Keep-Alive: timeout=N), milliseconds; -1 = none. */
  keepAliveHintMs = -1;
  readonly #onEnd = (): void => this.#peerEnded();
  readonly #onError = (error: NodeJS.ErrnoException): void => this.#lost(error);
  readonly #onClose = (): void => this.#lost(null);

  constructor(socket: Socket, peer: string, limits: Http1Limits, owner: ClientConnectionOwner) {
    this.#socket = socket;
    this.#peer = peer;
    this.#limits = limits;
    this.#owner = owner;
    this.#out = new OutputQueue(
      socket,
      () => this.#writer.room(),
      () => this.#writeFailed(),
    );
    this.#writer = new MessageWriter(this.#out, this);
    this.#reader = new HeadReader(limits, "response");
    this.#bodyReader = new BodyReader(limits, "response", this);
    this.#input = new SocketReader(socket, (chunk, isLent) => this.#read(chunk, isLent));
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
  }

  /** Sent so far, the present one among them. */
  get requests(): number {
    return this.#requests;
  }

  /** Sends a request; only when idle. */
  send(request: RequestContext, reply: Reply): Call {
    const { upgrade } = request.head;
    // What goes into a tunnel is not sent before there is one.
    const body = upgrade === "" ? request.body : null;
    const isChunked = body !== null && body.length < 0;
    const flushedBytes = this.#out.flushedBytes;
    try {
      if (upgrade === "") writeRequestHead(this.#out.open(), request.head, isChunked, false);
      else this.#writeOffer(request);
    } catch (error) {
      // A head that must not be written costs this request, not the connection.
      this.#owner.connectionIdle(this);
      reply.end(asProxyError(error));
      return endedCall;
    }
    this.#request = request;
    this.#reply = reply;
    this.#response = null;
    this.#isRequestSent = false;
    this.#informationals = 0;
    this.#bytesBefore = flushedBytes;
    this.#requests++;
    const call = new ClientCall(this, reply);
    this.#writer.send(body, isChunked);
    if (body === null) this.bodyWritten();
    return call;
  }

  #writeOffer(request: RequestContext): void {
    const { head, accept } = upgradeOffer(request.head);
    this.#accept = accept;
    writeRequestHead(this.#out.open(), head, false, false, head.upgrade);
  }

  /** Ends the call that answers to `reply`, if it is still the present one. */
  cancelCall(reply: Reply, error: ProxyError): void {
    if (this.#reply !== reply) return;
    if (!this.#isTellingHead || !this.#isRequestSent || this.#bodyReader.isWanted) {
      return this.#fail(error);
    }
    // A retry refuses this response by its head. What came with the head is read nevertheless: if that is all of it, as with
    // most error responses, the connection lives on.
    this.#reply = nobody;
    reply.end(error);
  }

  /** Closes now; a call under way ends with `error`. */
  destroy(error: ProxyError): void {
    this.#fail(error);
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  bodyCancelled(error: ProxyError): void {
    this.#fail(error);
  }

  bodyArrived(): void {}

  wroteSome(): void {}

  bodyWritten(): void {
    this.#isRequestSent = true;
  }

  bodyFailed(error: ProxyError): void {
    this.#fail(error);
  }

  #read(chunk: Buffer, isLent: boolean): void {
    // Bytes that no request asked for: whoever gets this connection next must not take them for its answer.
    if (this.#reply === null) return this.#close();
    if (this.#out.flushedBytes === this.#bytesBefore) {
      return this.#fail(
        new ProxyError("upstream_unprocessed", `${this.#peer}: sent a response before there was a request`),
      );
    }
    let at = 0;
    try {
      while (this.#response === null) {
        at = this.#reader.push(chunk, at);
        if (at < 0) return;
        if (this.#readHead() === 101) return this.#openTunnel(isLent ? Buffer.from(chunk) : chunk, at);
        if (this.#isClosed) return;
      }
      // What is not part of a head must be our own before it is passed on.
      if (isLent && at < chunk.length) {
        chunk = Buffer.from(chunk.subarray(at));
        at = 0;
      }
      if (this.#bodyReader.hasMore) at = this.#bodyReader.feed(chunk, at);
    } catch (error) {
      return this.#fail(asProxyError(error));
    }
    if (this.#isClosed) return;
    if (this.#bodyReader.hasMore) return this.#reply === nobody ? this.#close() : undefined;
    // More than was announced: the response stands, the connection does not (RFC 9112 §6.3).
    if (at < chunk.length) this.#isReusable = false;
    this.#complete();
  }

  /** Tells a head; gives its status. */
  #readHead(): number {
    const request = this.#request as RequestContext;
    const parsed = parseResponseHead(this.#reader.text, request.head.method, this.#limits);
    this.#reader.reset();
    const status = parsed.head.status;
    if (status === 101) {
      acceptUpgrade(parsed, request.head.upgrade, this.#accept);
      this.#response = parsed;
      return status;
    }
    if (status < 200) {
      this.#readInformational(parsed);
      return status;
    }
    this.#response = parsed;
    this.#isReusable = parsed.keepAlive && parsed.framing.kind !== "until-close";
    if (request.head.upgrade !== "") this.#declineTunnel(request);
    if (parsed.keepAliveTimeoutMs >= 0) this.keepAliveHintMs = parsed.keepAliveTimeoutMs;
    const body = this.#bodyReader.begin(parsed.framing);
    // Refused while still uploading: sending on would only provoke a reset that may destroy the answer.
    if (!this.#isRequestSent && status >= 400) this.#writer.cancel(refusedUpload);
    this.#isTellingHead = true;
    this.#reply?.head(parsed.head, body);
    this.#isTellingHead = false;
    return status;
  }

  #readInformational(parsed: ParsedResponse): void {
    if (++this.#informationals > maxInformational)
      throw protocolError(`more than ${maxInformational} interim responses`);
    this.#reply?.informational(parsed.head);
  }

  /** Who offers a tunnel may be taken at its word later: nothing else must be sent on such a connection. */
  #declineTunnel(request: RequestContext): void {
    this.#isReusable = false;
    request.body?.cancel(noTunnel);
  }

  /** From here on the connection's bytes belong to its two ends; what came with the head is the first of them. */
  #openTunnel(chunk: Buffer, from: number): void {
    const socket = this.#socket;
    const { body } = this.#request as RequestContext;
    this.#input.stop();
    socket.off("end", this.#onEnd);
    socket.off("error", this.#onError);
    socket.off("close", this.#onClose);
    const tunnel = new SocketTunnel(socket, { owner: this, broken: "upstream_reset", peer: this.#peer });
    this.#tunnel = tunnel;
    if (from < chunk.length) tunnel.incoming.push(chunk.subarray(from));
    this.#reply?.head((this.#response as ParsedResponse).head, tunnel.incoming);
    if (this.#isClosed) return;
    if (body === null) tunnel.end();
    else tunnel.sendFrom(body);
  }

  tunnelReceived(): void {}

  tunnelSent(): void {}

  tunnelClosed(error: ProxyError | null): void {
    this.#isClosed = true;
    const reply = this.#reply;
    this.#reply = null;
    this.#request = null;
    this.#owner.connectionClosed(this);
    reply?.end(error);
  }

  /** The response is complete. */
  #complete(): void {
    const reply = this.#reply;
    if (reply === null) return;
    this.#reply = null;
    this.#request = null;
    if (!this.#isRequestSent) {
      // An early answer: the rest of the upload has nowhere to go.
      this.#isReusable = false;
      this.#writer.cancel(refusedUpload);
    }
    if (this.#isReusable) {
      if (this.#socket.isPaused()) this.#socket.resume();
      this.#owner.connectionIdle(this);
    } else {
      this.#close();
    }
    reply.end(null);
  }

  #peerEnded(): void {
    if (this.#bodyReader.hasMore && !isEndedByReset(this.#socket) && this.#bodyReader.endByClose())
      return this.#complete();
    this.#lost(null);
  }

  /** The upstream takes no more, but it may have answered. */
  #writeFailed(): void {
    for (const chunk of this.#reply === null || this.#tunnel !== null ? [] : unreadBytes(this.#socket)) {
      if (this.#isClosed) return;
      this.#read(chunk, false);
      // Not even when the response is complete.
      this.#isReusable = false;
    }
  }

  /** The connection broke. */
  #lost(cause: NodeJS.ErrnoException | null): void {
    if (this.#isClosed) return;
    if (this.#reply === null) return this.#close();
    this.#fail(this.#lostError(cause));
  }

  #lostError(cause: NodeJS.ErrnoException | null): ProxyError {
    const options = cause === null ? {} : { cause };
    const how = cause?.code ?? "connection closed";
    if (this.#response !== null) {
      return new ProxyError(
        "upstream_truncated",
        `${this.#peer}: ${how} before the response was complete`,
        options,
      );
    }
    if (this.#out.flushedBytes === this.#bytesBefore) {
      return new ProxyError(
        "upstream_unprocessed",
        `${this.#peer}: ${how} before the request was sent`,
        options,
      );
    }
    // TLS 1.3 (RFC 8446 §4.4.2.4): a server's verdict on our certificate comes after our handshake is done.
    if (this.#requests === 1 && this.#reader.isEmpty && /^ERR_SSL_.*ALERT/.test(how)) {
      return new ProxyError("upstream_tls_failed", `${this.#peer}: ${how}`, options);
    }
    if (this.#requests > 1 && this.#reader.isEmpty && this.#informationals === 0) {
      return new ProxyError("keepalive_race", `${this.#peer}: ${how} on a kept-alive connection`, options);
    }
    const code = cause?.code === "ECONNRESET" ? "upstream_reset" : "upstream_closed";
    return new ProxyError(code, `${this.#peer}: ${how} before the response`, options);
  }

  #fail(error: ProxyError): void {
    if (this.#isClosed) return;
    if (this.#tunnel !== null) return this.#tunnel.reset(error);
    const reply = this.#reply;
    this.#reply = null;
    this.#request = null;
    this.#close();
    this.#writer.cancel(error);
    this.#bodyReader.breakOff(error);
    reply?.end(error);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#out.discard();
    this.#socket.destroy();
    this.#owner.connectionClosed(this);
  }
}

/** Told to the source of an upload that the upstream has answered without it. */
const refusedUpload = new ProxyError(
  "upstream_closed",
  "the upstream answered before the upload was complete",
);

const noTunnel = new ProxyError("upstream_closed", "the upstream answered without opening the tunnel");

/** Takes what is left of a response that was cancelled. */
const nobody: Reply = { informational() {}, head() {}, end() {} };

class ClientCall implements Call {
  readonly #connection: Http1ClientConnection;
  readonly #reply: Reply;

  constructor(connection: Http1ClientConnection, reply: Reply) {
    this.#connection = connection;
    this.#reply = reply;
  }

  cancel(error: ProxyError): void {
    this.#connection.cancelCall(this.#reply, error);
  }
}

function protocolError(detail: string): ProxyError {
  return new ProxyError("upstream_protocol_error", detail);
}

function asProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  return new ProxyError("internal", "unexpected failure while reading a response", { cause: error });
}
