import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import type { OutputQueue } from "../traffic/output-queue.js";
import { chunkHead, lastChunk } from "./serialize.js";

export interface WriterOwner {
  /** Body bytes pass by. */
  wroteSome(bytes: number): void;
  /** The last byte of the message was queued. */
  bodyWritten(): void;
  /** The message cannot be completed. */
  bodyFailed(error: ProxyError): void;
}

/** Writes the body of one message after the other to a connection, in the framing its head announced (RFC 9112 §6, §7). */
export class MessageWriter implements BodySink {
  readonly #out: OutputQueue;
  readonly #owner: WriterOwner;
  #source: BodySource | null = null;
  #isChunked = false;

  constructor(out: OutputQueue, owner: WriterOwner) {
    this.#out = out;
    this.#owner = owner;
  }

  /** Queues a head and takes the body from `source`; may complete before it returns. */
  send(headText: string, source: BodySource | null, isChunked: boolean): void {
    this.#out.text(headText);
    this.#isChunked = isChunked;
    this.#source = source;
    source?.attach(this);
  }

  /** The connection has room again. */
  room(): void {
    this.#source?.resume();
  }

  /** Lets go of the present body. */
  cancel(error: ProxyError): void {
    const source = this.#source;
    this.#source = null;
    source?.cancel(error);
  }

  write(chunk: Buffer): boolean {
    this.#owner.wroteSome(chunk.length);
    if (!this.#isChunked) return this.#out.write(chunk);
    // A zero-length slice would be read as the last chunk.
    if (chunk.length === 0) return true;
    this.#out.text(chunkHead(chunk.length));
    const hasRoom = this.#out.write(chunk);
    this.#out.text("\r\n");
    return hasRoom;
  }

  end(trailers: readonly string[] | null): void {
    this.#source = null;
    if (this.#isChunked) this.#out.text(lastChunk(trailers));
    this.#owner.bodyWritten();
  }

  fail(error: ProxyError): void {
    this.#source = null;
    this.#owner.bodyFailed(error);
  }
}
