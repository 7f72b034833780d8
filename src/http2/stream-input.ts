import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import { HeldBytes } from "./held-bytes.js";
import type { ReceiveCredit } from "./receive-credit.js";

/** The stream that a body arrives on. */
export interface InputHost {
  readonly id: number;
  /** The peer may still send on this stream: it wants its window back. */
  readonly isReceiving: boolean;
  /** The consumer wants no more of a body that is not complete, or not delivered. */
  inputCancelled(error: ProxyError): void;
  /** The consumer has all of it. */
  inputDelivered(): void;
}

/** What became of a piece of DATA. */
export type Received = "ok" | "over_window" | "over_length";

type Ending =
  | { readonly kind: "complete"; readonly trailers: readonly string[] | null }
  | { readonly kind: "failed"; readonly error: ProxyError };

const completeWithoutTrailers: Ending = { kind: "complete", trailers: null };

/**
 * The body that a stream receives, with the stream's receive window. What its consumer has no room for waits here, bounded
 * by that window, which opens again only as the consumer takes bytes (RFC 9113 §5.2).
 */
export class StreamInput implements BodySource {
  readonly length: number;
  readonly #host: InputHost;
  readonly #credit: ReceiveCredit;
  #sink: BodySink | null = null;
  #hasRoom = false;
  /** What the peer may still send. */
  #window: number;
  /** Taken by the consumer, and not given back yet. */
  #taken = 0;
  /** Bytes to come by Content-Length; negative when it told none. */
  #left: number;
  #held: HeldBytes | null = null;
  #ending: Ending | null = null;
  /** No sink method will be called any more. */
  #isOver = false;
  #isDelivering = false;

  /** @param length as declared, or -1. */
  constructor(length: number, host: InputHost, credit: ReceiveCredit) {
    this.length = length;
    this.#left = length;
    this.#host = host;
    this.#credit = credit;
    this.#window = credit.streamWindowBytes;
  }

  get isAttached(): boolean {
    return this.#sink !== null;
  }

  attach(sink: BodySink): void {
    if (this.#isOver) return;
    this.#sink = sink;
    this.#hasRoom = true;
    this.#deliver();
  }

  resume(): void {
    if (this.#isOver || this.#sink === null) return;
    this.#hasRoom = true;
    this.#deliver();
  }

  cancel(error: ProxyError): void {
    if (this.#isOver) return;
    this.#drop();
    this.#host.inputCancelled(error);
  }

  /** For the stream: DATA came; the connection's window was charged. Whatever the outcome, its credit is settled here. */
  receive(bytes: Buffer, from: number, to: number, charged: number): Received {
    const count = to - from;
    this.#window -= charged;
    if (this.#left >= 0) this.#left -= count;
    if (this.#window < 0 || (this.length >= 0 && this.#left < 0)) {
      this.#credit.release(charged);
      return this.#window < 0 ? "over_window" : "over_length";
    }
    if (charged > count) {
      this.#taken += charged - count;
      this.#credit.release(charged - count);
    }
    if (count === 0) return "ok";
    if (this.#isOver) {
      this.#credit.release(count);
    } else if (this.#sink !== null && this.#hasRoom && this.#held === null) {
      this.#credit.release(count);
      this.#pass(this.#sink, count === bytes.length ? bytes : bytes.subarray(from, to));
    } else {
      this.#held ??= new HeldBytes();
      this.#held.push(bytes, from, to);
      this.#credit.hold(count);
    }
    return "ok";
  }

  /** For the stream: END_STREAM came. False: there is less than Content-Length told, and the body is left open. */
  complete(trailers: readonly string[] | null): boolean {
    if (this.#left > 0) return false;
    this.#ending = trailers === null ? completeWithoutTrailers : { kind: "complete", trailers };
    if (this.#sink !== null && this.#held === null) this.#finish(this.#sink);
    return true;
  }

  /** For the stream: the rest will not come. What waits is dropped. */
  breakOff(error: ProxyError): void {
    if (this.#isOver) return;
    this.#dropHeld();
    this.#ending = { kind: "failed", error };
    if (this.#sink !== null) this.#finish(this.#sink);
  }

  /** For the stream: nobody will come for it any more. */
  abandon(): void {
    if (!this.#isOver) this.#drop();
  }

  #deliver(): void {
    if (this.#isDelivering) return;
    const sink = this.#sink as BodySink;
    this.#isDelivering = true;
    while (this.#hasRoom && this.#held !== null) {
      const chunk = this.#held.shift();
      if (this.#held.size === 0) this.#held = null;
      if (chunk === null) break;
      this.#credit.letGo(chunk.length);
      this.#pass(sink, chunk);
      if (this.#isOver) break;
    }
    this.#isDelivering = false;
    if (!this.#isOver && this.#held === null && this.#ending !== null) this.#finish(sink);
  }

  #pass(sink: BodySink, chunk: Buffer): void {
    this.#hasRoom = sink.write(chunk);
    this.#taken += chunk.length;
    if (this.#isOver || this.#taken * 2 < this.#credit.streamWindowBytes || !this.#host.isReceiving) return;
    this.#credit.writer.windowUpdate(this.#host.id, this.#taken);
    this.#window += this.#taken;
    this.#taken = 0;
  }

  #finish(sink: BodySink): void {
    if (this.#isDelivering || this.#isOver) return;
    this.#isOver = true;
    const ending = this.#ending as Ending;
    if (ending.kind === "failed") return sink.fail(ending.error);
    sink.end(ending.trailers);
    this.#host.inputDelivered();
  }

  #drop(): void {
    this.#isOver = true;
    this.#dropHeld();
  }

  #dropHeld(): void {
    if (this.#held === null) return;
    this.#credit.letGo(this.#held.size);
    this.#held = null;
  }
}
