import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Reply } from "../stack/service.js";
import { errorCode, errorCodeName } from "./frame.js";
import type { ReadResponse } from "./response-fields.js";
import { Http2Stream, type StreamConnection } from "./stream.js";
import { StreamInput } from "./stream-input.js";
import { StreamOutput } from "./stream-output.js";

/** What a stream needs from its client connection. */
export interface ClientStreamHost extends StreamConnection {
  /** For error texts: who is at the other end. */
  readonly peerName: string;
  /** What the peer sent on a stream is wrong: counts it. */
  mistaken(): void;
  /** The stream is over; called before its reply learns of it. */
  streamEnded(stream: ClientStream): void;
}

/** More 1xx heads than this for one request are a peer that never answers. */
const maxInformational = 32;

/** One call on an HTTP/2 client connection. */
export class ClientStream extends Http2Stream implements Call {
  readonly request: RequestContext;
  /** The writer's generation in which HEADERS was written: while it lasts, nothing was sent. */
  generation = -1;
  hasHead = false;
  readonly #host: ClientStreamHost;
  readonly #reply: Reply;
  #isEnded = false;
  #isDelivered = true;
  #informationals = 0;

  constructor(host: ClientStreamHost, request: RequestContext, reply: Reply, nowMs: number) {
    super(host, 0, 0, nowMs);
    this.#host = host;
    this.request = request;
    this.#reply = reply;
  }

  get isTunnel(): boolean {
    return this.request.head.upgrade !== "";
  }

  /** HEADERS was written at this place of the writer: the body follows, that of a tunnel only when there is one. */
  begin(place: number): void {
    const body = this.request.body;
    if (this.isTunnel) return;
    if (body === null) {
      this.isSending = false;
      return;
    }
    this.output = new StreamOutput(this, this.connection.sendQueue, place);
    this.output.start(body);
  }

  /** A head came. The caller has judged it as far as it could alone. */
  responded(read: ReadResponse, isEnd: boolean): void {
    const { head, contentLength } = read;
    const status = head.status;
    const isTunnel = this.isTunnel && status === 101;
    if (status < 200 && !isTunnel) {
      if (isEnd || status === 101 || ++this.#informationals > maxInformational)
        return this.#mistaken(`status ${status} out of place`);
      return this.#reply.informational(head);
    }
    this.hasHead = true;
    if (isEnd) this.isReceiving = false;
    const isBodiless = this.request.head.method === "HEAD" || status === 204 || status === 304;
    if (isEnd && contentLength > 0 && !isBodiless) return this.#mistaken("content-length without content");
    if (isTunnel || (!isEnd && !isBodiless)) {
      this.input = new StreamInput(isTunnel ? -1 : contentLength, this, this.connection.credit);
      this.#isDelivered = false;
    }
    // Refused while still uploading: the rest has nowhere to go.
    if (status >= 400) this.output?.stop(answered);
    if (this.isTunnel && !isTunnel) this.request.body?.cancel(answered);
    this.#reply.head(head, this.input);
    if (isTunnel && !this.isClosed) this.#openTunnel();
    if (!isEnd || this.#isEnded) return;
    this.input?.complete(null);
    this.inputEnded();
  }

  #openTunnel(): void {
    const body = this.request.body;
    this.output = new StreamOutput(this, this.connection.sendQueue, -1);
    if (body === null) this.output.end(null);
    else this.output.start(body);
  }

  /** As the call: ends it. As the response body's consumer, through inputCancelled: wants no more of it. */
  cancel(error: ProxyError): void {
    this.#end(error, errorCode.cancel);
  }

  inputCancelled(error: ProxyError): void {
    this.cancel(error);
  }

  inputDelivered(): void {
    this.#isDelivered = true;
    this.inputEnded();
  }

  inputEnded(): void {
    if (!this.hasHead) return this.#mistaken("END_STREAM before the response");
    if (this.isReceiving || !this.#isDelivered) return;
    // The two directions of a tunnel end on their own.
    if (this.isTunnel && this.isSending && this.output !== null) return;
    this.#end(null, errorCode.cancel);
  }

  unexpectedData(): void {
    this.#mistaken(this.hasHead ? "content in a response that has none" : "DATA before the response head");
  }

  peerReset(code: number): void {
    const { peerName } = this.#host;
    const how = `${peerName}: stream reset with ${errorCodeName(code)}`;
    if (!this.hasHead) {
      const isUnprocessed = code === errorCode.refusedStream;
      return this.lost(new ProxyError(isUnprocessed ? "upstream_unprocessed" : "upstream_reset", how));
    }
    // The response is complete; the rest of the request is not wanted (RFC 9113 §8.1).
    if (!this.isReceiving && (!this.isTunnel || code === errorCode.noError)) {
      this.close(null);
      this.output?.stop(answered);
      if (this.isTunnel) this.inputEnded();
      return;
    }
    this.lost(new ProxyError("upstream_truncated", how));
  }

  violated(code: number, detail: string): void {
    this.#end(new ProxyError("upstream_protocol_error", `${this.#host.peerName}: ${detail}`), code);
  }

  #mistaken(detail: string): void {
    this.#host.mistaken();
    this.violated(errorCode.protocolError, detail);
  }

  protected failed(error: ProxyError): void {
    this.cancel(error);
  }

  /** The head of the response cannot be used. */
  refused(error: ProxyError): void {
    this.#end(error, errorCode.protocolError);
  }

  lost(error: ProxyError): void {
    this.#end(error, null);
  }

  idle(): void {}

  received(): void {}

  outputWrote(): void {}

  outputDone(): void {
    this.isSending = false;
    if (this.isTunnel && !this.isReceiving) this.inputEnded();
  }

  /** The client's upload broke off: there is nothing to answer to. */
  outputFailed(error: ProxyError): void {
    this.cancel(error);
  }

  #end(error: ProxyError | null, code: number | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.close(this.isReceiving || this.isSending ? code : null);
    this.output?.stop(error ?? answered);
    if (error !== null) this.input?.breakOff(error);
    if (this.isTunnel && this.output === null) this.request.body?.cancel(error ?? answered);
    this.#host.streamEnded(this);
    this.#reply.end(error);
  }
}

/** Told to the source of an upload that the upstream has answered without it. */
const answered = new ProxyError("upstream_closed", "the upstream answered before the upload was complete");
