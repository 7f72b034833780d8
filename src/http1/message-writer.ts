import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import type { OutputQueue } from "../traffic/output-queue.js";
import { writeChunkEnd, writeChunkHead, writeLastChunk } from "./serialize.js";

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

  /** Takes the body from `source` behind a head that was queued; may complete before it returns. */
  send(source: BodySource | null, isChunked: boolean): void {
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
    writeChunkHead(this.#out.open(), chunk.length);
    const hasRoom = this.#out.write(chunk);
    writeChunkEnd(this.#out.open());
    return hasRoom;
  }

  end(trailers: readonly string[] | null): void {
    this.#source = null;
    if (this.#isChunked) writeLastChunk(this.#out.open(), trailers);
    this.#owner.bodyWritten();
  }

  fail(error: ProxyError): void {
    this.#source = null;
    this.#owner.bodyFailed(error);
  }
}
