import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "./body.js";

/** A body that passes unchanged, for those who watch it: they override what they want to see, and call on. */
export class PassingBody implements BodySource, BodySink {
  readonly length: number;
  readonly #source: BodySource;
  #sink: BodySink | null = null;

  constructor(source: BodySource) {
    this.#source = source;
    this.length = source.length;
  }

  attach(sink: BodySink): void {
    this.#sink = sink;
    this.#source.attach(this);
  }

  resume(): void {
    this.#source.resume();
  }

  cancel(error: ProxyError): void {
    this.#source.cancel(error);
  }

  write(chunk: Buffer): boolean {
    return this.#sink?.write(chunk) ?? false;
  }

  end(trailers: readonly string[] | null): void {
    this.#sink?.end(trailers);
  }

  fail(error: ProxyError): void {
    this.#sink?.fail(error);
  }
}
