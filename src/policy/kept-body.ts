import { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";

/** Who keeps a body. */
export interface BodyKeeper {
  /** All of it is there. Called before the consumer is told. Not called for one that is too long. */
  bodyKept(bytes: Buffer): void;
  /** The rest will not come. Not called for one that is too long. */
  bodyLost(): void;
}

/** Tells the source of a body that is too long to be kept, and whose consumer has gone. */
const nobody = new ProxyError("client_gone", "nobody takes the rest of the response");

/** A response's body on its way to its consumer, of which a copy is kept. It is read to its end without a consumer, too. */
export class KeptBody implements BodySource, BodySink {
  readonly length: number;
  readonly #source: BodySource;
  readonly #maxBytes: number;
  readonly #keeper: BodyKeeper;
  #slices: Buffer[] = [];
  #bytes = 0;
  #sink: BodySink | null = null;
  #isAttached = false;
  #isTooLong: boolean;

  constructor(source: BodySource, maxBytes: number, keeper: BodyKeeper) {
    this.#source = source;
    this.length = source.length;
    this.#maxBytes = maxBytes;
    this.#keeper = keeper;
    this.#isTooLong = source.length > maxBytes;
  }

  /** It is longer than what may be kept. */
  get isTooLong(): boolean {
    return this.#isTooLong;
  }

  attach(sink: BodySink): void {
    this.#sink = sink;
    this.#isAttached = true;
    this.#source.attach(this);
  }

  resume(): void {
    this.#source.resume();
  }

  cancel(error: ProxyError): void {
    if (!this.#isTooLong) return this.goOnAlone();
    this.#sink = null;
    this.#source.cancel(error);
  }

  /** Reads the rest without a consumer. Idempotent. */
  goOnAlone(): void {
    const hadSink = this.#sink !== null;
    this.#sink = null;
    if (!this.#isAttached) {
      this.#isAttached = true;
      this.#source.attach(this);
    } else if (hadSink) {
      // The consumer may have been full.
      this.#source.resume();
    }
  }

  write(chunk: Buffer): boolean {
    this.#keep(chunk);
    if (this.#sink !== null) return this.#sink.write(chunk);
    if (!this.#isTooLong) return true;
    // Nobody wants it any more.
    this.#source.cancel(nobody);
    return false;
  }

  end(trailers: readonly string[] | null): void {
    if (!this.#isTooLong) this.#keeper.bodyKept(Buffer.concat(this.#slices));
    this.#sink?.end(trailers);
  }

  fail(error: ProxyError): void {
    if (!this.#isTooLong) this.#keeper.bodyLost();
    this.#sink?.fail(error);
  }

  #keep(chunk: Buffer): void {
    if (this.#isTooLong) return;
    this.#bytes += chunk.length;
    this.#isTooLong = this.#bytes > this.#maxBytes;
    if (this.#isTooLong) this.#slices = [];
    else this.#slices.push(chunk);
  }
}
