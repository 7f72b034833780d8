import { ProxyError } from "../../src/errors/proxy-error.js";
import type { BodySink, BodySource } from "../../src/traffic/body.js";

/** A client's upload: bytes arrive by `arrive`; it keeps the source's side of the contract and checks the sink's. */
export class ScriptedSource implements BodySource {
  readonly length: number;
  cancelledWith: ProxyError | null = null;
  isPaused = false;
  /** Taken to its end. */
  isDone = false;
  #sink: BodySink | null = null;
  readonly #trailers: readonly string[] | null;
  readonly #waiting: (Buffer | "end")[] = [];

  constructor(length = -1, trailers: readonly string[] | null = ["x-checksum", "1"]) {
    this.length = length;
    this.#trailers = trailers;
  }

  arrive(...events: (Buffer | "end")[]): void {
    this.#waiting.push(...events);
    this.#flow();
  }

  fail(error: ProxyError): void {
    if (this.cancelledWith === null) this.#sink?.fail(error);
  }

  attach(sink: BodySink): void {
    if (this.#sink !== null) throw new Error("attached twice");
    this.#sink = sink;
    this.#flow();
  }

  resume(): void {
    this.isPaused = false;
    this.#flow();
  }

  cancel(error: ProxyError): void {
    this.cancelledWith ??= error;
  }

  #flow(): void {
    while (this.#sink !== null && this.cancelledWith === null && !this.isPaused) {
      const event = this.#waiting.shift();
      if (event === undefined) return;
      if (event === "end") {
        this.isDone = true;
        this.#sink.end(this.#trailers);
      } else this.isPaused = !this.#sink.write(event);
    }
  }
}

/** An upstream that reads a request body, with as much room as the test gives it. */
export class ScriptedSink implements BodySink {
  readonly chunks: Buffer[] = [];
  trailers: readonly string[] | null = null;
  isEnded = false;
  failedWith: ProxyError | null = null;
  /** Slices it takes before it says "full". */
  room = Infinity;
  /** Runs inside a write, when it has been noted. */
  onWrite: () => void = () => {};

  write(chunk: Buffer): boolean {
    if (this.isEnded || this.failedWith !== null) throw new Error("write after the last call");
    this.chunks.push(chunk);
    this.room--;
    const hasRoom = this.room > 0;
    this.onWrite();
    return hasRoom;
  }

  end(trailers: readonly string[] | null): void {
    if (this.isEnded || this.failedWith !== null) throw new Error("end after the last call");
    this.isEnded = true;
    this.trailers = trailers;
  }

  fail(error: ProxyError): void {
    this.failedWith = error;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

export const scriptedError = new ProxyError("upstream_reset", "scripted");
