import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import { defaultFrameBytes } from "./frame.js";
import type { QueuedOutput, SendQueue } from "./send-queue.js";

/** The stream that a body is sent on. */
export interface OutputHost {
  readonly id: number;
  /** What the peer lets us send on this stream; negative after it made its initial window smaller. */
  sendWindow: number;
  /** Body bytes pass by. */
  outputWrote(bytes: number): void;
  /** Writes the trailers with END_STREAM. False: it could not, and the stream was reset. */
  writeTrailers(trailers: readonly string[]): boolean;
  /** END_STREAM was written. */
  outputDone(): void;
  /** The body cannot be completed. */
  outputFailed(error: ProxyError): void;
}

/**
 * The body that a stream sends: DATA frames as the windows and the socket permit. A slice that does not fit waits here, and
 * the source with it.
 */
export class StreamOutput implements BodySink, QueuedOutput {
  isQueued = false;
  readonly #host: OutputHost;
  readonly #queue: SendQueue;
  #source: BodySource | null = null;
  /** The slice that waits, from where on; and more of them, from sources that had them at hand. */
  #slice: Buffer | null = null;
  #at = 0;
  #more: Buffer[] | null = null;
  /** Where the last frame of this stream stands in the writer, and in which of its generations. */
  #place: number;
  #generation: number;
  /** The source waits to be told that there is room. */
  #isSourceWaiting = false;
  #state: "open" | "ended" | "over" = "open";
  #trailers: readonly string[] | null = null;

  /** @param headersPlace of the HEADERS frame just written: END_STREAM may be set in it afterwards. -1 = it was written before. */
  constructor(host: OutputHost, queue: SendQueue, headersPlace: number) {
    this.#host = host;
    this.#queue = queue;
    this.#place = headersPlace;
    // No generation has this number: without a frame to set it in, END_STREAM needs one of its own.
    this.#generation = headersPlace < 0 ? -1 : queue.writer.generation;
  }

  /** Takes the body from `source`; may complete before it returns. */
  start(source: BodySource): void {
    this.#source = source;
    source.attach(this);
  }

  /** Everything was handed in, though it may not have been sent. */
  get isEnded(): boolean {
    return this.#state !== "open";
  }

  write(chunk: Buffer): boolean {
    if (this.#state !== "open" || chunk.length === 0) return true;
    this.#host.outputWrote(chunk.length);
    if (this.#slice !== null) {
      (this.#more ??= []).push(chunk);
      return false;
    }
    this.#slice = chunk;
    this.#at = 0;
    const queue = this.#queue;
    while (this.#slice !== null && queue.window > 0 && this.#host.sendWindow > 0 && queue.isFree) {
      this.#sendFrame(chunk);
    }
    if (this.#slice === null && !queue.writer.isBlocked) return true;
    this.#isSourceWaiting = true;
    if (this.#slice === null || this.#host.sendWindow > 0) queue.add(this);
    return false;
  }

  end(trailers: readonly string[] | null): void {
    if (this.#state !== "open") return;
    this.#source = null;
    this.#state = "ended";
    this.#trailers = trailers;
    if (this.#slice === null) this.#finish();
  }

  fail(error: ProxyError): void {
    if (this.#state !== "open") return;
    this.#source = null;
    this.#host.outputFailed(error);
  }

  /** For the stream: sends nothing any more, and lets go of the source. */
  stop(error: ProxyError): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#slice = null;
    this.#more = null;
    const source = this.#source;
    this.#source = null;
    source?.cancel(error);
  }

  /** For the stream: its window has grown. The caller pumps. */
  windowGrew(): void {
    if (this.#slice !== null && this.#host.sendWindow > 0) this.#queue.add(this);
  }

  /** Only for the queue. */
  takeTurn(): boolean {
    if (this.#slice !== null) {
      if (this.#host.sendWindow <= 0) return false;
      this.#sendFrame(this.#slice);
      if (this.#slice !== null) return this.#host.sendWindow > 0;
      if (this.#state === "ended") this.#finish();
    }
    if (this.#source === null || !this.#isSourceWaiting) return false;
    if (this.#queue.writer.isBlocked) return true;
    this.#isSourceWaiting = false;
    this.#source.resume();
    return false;
  }

  #sendFrame(slice: Buffer): void {
    const queue = this.#queue;
    const host = this.#host;
    const count = Math.min(slice.length - this.#at, defaultFrameBytes, queue.window, host.sendWindow);
    queue.window -= count;
    host.sendWindow -= count;
    this.#place = queue.writer.data(host.id, slice, this.#at, this.#at + count);
    this.#generation = queue.writer.generation;
    queue.guard.dataSent(1);
    this.#at += count;
    if (this.#at < slice.length) return;
    this.#slice = this.#more?.shift() ?? null;
    this.#at = 0;
  }

  /** END_STREAM goes into the last frame if that was not flushed yet, else into an empty one. */
  #finish(): void {
    this.#state = "over";
    const host = this.#host;
    const writer = this.#queue.writer;
    if (this.#trailers !== null && this.#trailers.length > 0) {
      if (!host.writeTrailers(this.#trailers)) return;
    } else {
      if (this.#generation !== writer.generation) {
        this.#place = writer.data(host.id, nothing, 0, 0);
        this.#queue.guard.dataSent(1);
      }
      writer.endStream(this.#place);
    }
    host.outputDone();
  }
}

const nothing = Buffer.alloc(0);
