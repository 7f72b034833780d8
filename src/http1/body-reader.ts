import type { ProxyError } from "../errors/proxy-error.js";
import { IncomingBody, type BodyInlet } from "../traffic/incoming-body.js";
import { ChunkedDecoder } from "./chunked-decoder.js";
import type { BodyFraming } from "./framing.js";
import type { Http1Limits } from "./limits.js";
import type { MessageKind } from "./refusal.js";

export interface BodyReaderOwner extends BodyInlet {
  /** All of the body has arrived; told before its consumer is. */
  bodyArrived(): void;
}

const chunked = -1;
const untilClose = -2;

/** Finds the end of one message body after the other in the bytes of a connection (RFC 9112 §6.3). */
export class BodyReader {
  readonly #limits: Http1Limits;
  readonly #kind: MessageKind;
  readonly #owner: BodyReaderOwner;
  #decoder: ChunkedDecoder | null = null;
  #body: IncomingBody | null = null;
  /** Bytes still to come, or `chunked`, or `untilClose`; 0 = none or complete. */
  #left = 0;
  readonly #pushSlice = (slice: Buffer): void => this.#body?.push(slice);

  constructor(limits: Http1Limits, kind: MessageKind, owner: BodyReaderOwner) {
    this.#limits = limits;
    this.#kind = kind;
    this.#owner = owner;
  }

  /** Bytes of the present body have not arrived yet. */
  get hasMore(): boolean {
    return this.#left !== 0;
  }

  /** Somebody takes the present body. */
  get isWanted(): boolean {
    return this.#body?.isAttached === true;
  }

  /** Begins with the body that this framing announces; null = none. */
  begin(framing: BodyFraming): IncomingBody | null {
    this.#body = null;
    this.#left = 0;
    if (framing.kind === "none") return null;
    if (framing.kind === "length") {
      this.#left = framing.length;
    } else if (framing.kind === "chunked") {
      this.#decoder ??= new ChunkedDecoder(this.#limits, this.#kind);
      this.#decoder.reset();
      this.#left = chunked;
    } else {
      this.#left = untilClose;
    }
    this.#body = new IncomingBody(framing.length, this.#owner);
    return this.#body;
  }

  /** Takes the body's bytes; gives the index behind the last of them. Throws ProxyError for broken framing. */
  feed(chunk: Buffer, from: number): number {
    const body = this.#body;
    if (body === null) return from;
    if (this.#left === chunked) {
      const decoder = this.#decoder as ChunkedDecoder;
      const at = decoder.feed(chunk, from, this.#pushSlice);
      if (decoder.isDone) this.#complete(body, decoder.trailers);
      return at;
    }
    if (from === chunk.length) return from;
    if (this.#left === untilClose) {
      body.push(from === 0 ? chunk : chunk.subarray(from));
      return chunk.length;
    }
    const take = Math.min(this.#left, chunk.length - from);
    this.#left -= take;
    body.push(take === chunk.length ? chunk : chunk.subarray(from, from + take));
    if (this.#left === 0) this.#complete(body, null);
    return from + take;
  }

  /** The peer sends no more. True: that was the end of the body. */
  endByClose(): boolean {
    if (this.#left !== untilClose || this.#body === null) return false;
    this.#complete(this.#body, null);
    return true;
  }

  /** The rest of the body will not come. */
  breakOff(error: ProxyError): void {
    const body = this.#body;
    this.#body = null;
    body?.breakOff(error);
  }

  /** Nobody is to be told about the rest of the body. */
  forget(): void {
    this.#body = null;
  }

  #complete(body: IncomingBody, trailers: readonly string[] | null): void {
    this.#left = 0;
    this.#body = null;
    this.#owner.bodyArrived();
    body.complete(trailers);
  }
}
