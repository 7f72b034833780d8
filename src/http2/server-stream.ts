import { ProxyError } from "../errors/proxy-error.js";
import { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Reply, type Service } from "../stack/service.js";
import { BufferedBody, type BodySource } from "../traffic/body.js";
import type { LocalReply, RequestHead, ResponseHead } from "../traffic/message.js";
import { errorCode } from "./frame.js";
import type { ReadRequest } from "./request-fields.js";
import { resetCode } from "./reset-code.js";
import { headError, Http2Stream, type StreamConnection } from "./stream.js";
import { StreamInput } from "./stream-input.js";
import { StreamOutput } from "./stream-output.js";

/** What a stream needs from its server connection. */
export interface ServerStreamHost extends StreamConnection {
  readonly service: Service;
  readonly remoteAddress: string;
  readonly peerId: string | undefined;
  readonly peerHash: string;
  /** Writes a HEADERS frame and gives its place in the writer. */
  writeResponse(streamId: number, head: ResponseHead, request: RequestHead, isEnd: boolean): number;
  /** A stream has left the table. */
  streamEnded(): void;
}

/** One request and its reply on an HTTP/2 server connection. */
export class ServerStream extends Http2Stream implements Reply {
  readonly #host: ServerStreamHost;
  #announced: ReadRequest | null = null;
  #request: RequestContext | null = null;
  #call: Call = endedCall;
  /** The final head was written. */
  #isStarted = false;
  #isReplyEnded = false;
  /** Why the stream was closed before the service's call was known. */
  #closedWith: ProxyError | null = null;

  constructor(host: ServerStreamHost, id: number, sendWindow: number, nowMs: number, isReceiving: boolean) {
    super(host, id, sendWindow, nowMs);
    this.#host = host;
    this.isReceiving = isReceiving;
  }

  get isTunnel(): boolean {
    return this.#request !== null && this.#request.head.upgrade !== "";
  }

  /** A layer watches over the request's silence. */
  get hasOwnIdle(): boolean {
    return this.#request?.hasOwnIdle === true;
  }

  /** The request, for `begin`. */
  announce(read: ReadRequest): void {
    this.#announced = read;
  }

  /** Hands the request to the service, if it is still wanted. */
  begin(): void {
    const read = this.#announced;
    if (this.isClosed || read === null) return;
    this.#announced = null;
    const { head, contentLength } = read;
    const host = this.#host;
    if (this.isReceiving || head.upgrade !== "") {
      this.input = new StreamInput(contentLength, this, host.credit);
      if (!this.isReceiving) this.input.complete(null);
    }
    const request = new RequestContext(head, this.input, this.openedAtMs, host.remoteAddress, host.peerId);
    request.peerHash = host.peerHash;
    this.#request = request;
    const call = host.service.call(request, this);
    if (this.#closedWith !== null) call.cancel(this.#closedWith);
    else if (!this.#isReplyEnded) this.#call = call;
  }

  /** Answers a request that never reaches the service. */
  refuse(reply: LocalReply): void {
    this.head(reply.head, new BufferedBody(reply.body));
    this.end(null);
  }

  informational(head: ResponseHead): void {
    // RFC 9113 §8.6: 101 has no meaning here.
    if (this.isClosed || this.#isStarted || head.status === 101) return;
    this.#write(head, false);
  }

  head(head: ResponseHead, source: BodySource | null): void {
    if (this.isClosed || this.#isStarted) return source?.cancel(noBody);
    this.#isStarted = true;
    const isBodiless = this.#request?.head.method === "HEAD" || head.status === 204 || head.status === 304;
    const body = isBodiless ? null : source;
    const place = this.#write(head, body === null);
    if (source !== body) source?.cancel(noBody);
    if (place < 0) return body?.cancel(noBody);
    if (body === null) return this.outputDone();
    this.output = new StreamOutput(this, this.connection.sendQueue, place);
    this.output.start(body);
  }

  end(error: ProxyError | null): void {
    if (this.#isReplyEnded) return;
    this.#isReplyEnded = true;
    this.#call = endedCall;
    if (this.isClosed) return this.input?.abandon();
    if (error === null && this.#isStarted) return this.#finish();
    const cause = error ?? noReply;
    const code = error !== null && !this.#isStarted ? errorCode.cancel : resetCode(cause);
    if (this.close(code)) this.#tell(cause);
  }

  inputEnded(): void {
    this.#finish();
  }

  /** The request was refused by its head: what it still sends is swallowed. */
  unexpectedData(): void {}

  peerReset(code: number): void {
    const text = `client reset the stream with code ${code}`;
    if (this.close(null)) this.#tell(new ProxyError("client_gone", text));
  }

  violated(code: number, detail: string): void {
    if (this.close(code)) this.#tell(new ProxyError("malformed_request", detail));
  }

  lost(error: ProxyError): void {
    if (this.close(null)) this.#tell(error);
  }

  idle(error: ProxyError): void {
    const call = this.#call;
    // A response that was handed in whole, and that the client does not fetch.
    if (call === endedCall) this.end(error);
    else call.cancel(error);
    if (!this.isClosed && this.#isReplyEnded && this.close(errorCode.cancel)) this.#tell(error);
  }

  received(bytes: number): void {
    if (this.#request !== null) this.#request.requestBytes += bytes;
  }

  /** Nobody wants the rest of the upload. Its window stays shut until the reply is over. */
  inputCancelled(): void {}

  inputDelivered(): void {}

  outputWrote(bytes: number): void {
    this.isActive = true;
    if (this.#request !== null) this.#request.responseBytes += bytes;
  }

  outputDone(): void {
    this.isSending = false;
    this.#finish();
  }

  /** The end of the call says the same, with the last word on the code. */
  outputFailed(): void {}

  #write(head: ResponseHead, isEnd: boolean): number {
    try {
      return this.#host.writeResponse(this.id, head, this.#request?.head ?? unread, isEnd);
    } catch (error) {
      this.failed(headError(error));
      return -1;
    }
  }

  protected failed(error: ProxyError): void {
    if (this.close(errorCode.internalError)) this.#tell(error);
  }

  /** Closes the stream when nothing is left to be sent on it. */
  #finish(): void {
    if (this.isClosed || this.isSending) return;
    if (this.isReceiving) {
      // RFC 9113 §8.1: the response is complete without the rest of the request, so the client should not send it.
      if (!this.#isReplyEnded) return;
      this.close(errorCode.noError);
      this.input?.breakOff(answered);
    } else {
      this.close(null);
      // The service may still deliver what came: it is complete.
      if (this.#isReplyEnded) this.input?.abandon();
    }
    this.#host.streamEnded();
  }

  /** The stream was cut off: ends its bodies and its call. */
  #tell(error: ProxyError): void {
    this.#closedWith = error;
    this.input?.breakOff(error);
    this.output?.stop(error);
    const call = this.#call;
    this.#call = endedCall;
    call.cancel(error);
    this.#host.streamEnded();
  }
}

/** Stands for a request whose head could not be read. */
const unread: RequestHead = {
  method: "GET",
  target: "/",
  authority: "",
  version: "2",
  headers: [],
  upgrade: "",
};

/** Told to the source of a body that the method or status forbids: local replies to HEAD have one. */
const noBody = new ProxyError("client_gone", "the response has no body");
const noReply = new ProxyError("internal", "the call ended without a response");
const answered = new ProxyError("client_gone", "the response was complete before the upload");
