import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";

/** Is told that bytes pass. */
export interface BodyWatcher {
  touch(): void;
}

/** One direction of an exchange: stands between the source and its consumer, and tells of every movement. */
export class WatchedBody implements BodySource, BodySink {
  readonly length: number;
  readonly #source: BodySource;
  readonly #watcher: BodyWatcher;
  #sink: BodySink | null = null;

  constructor(source: BodySource, watcher: BodyWatcher) {
    this.#source = source;
    this.#watcher = watcher;
    this.length = source.length;
  }

  attach(sink: BodySink): void {
    this.#sink = sink;
    this.#source.attach(this);
  }

  resume(): void {
    // A consumer that takes what it was given is alive, too.
    this.#watcher.touch();
    this.#source.resume();
  }

  cancel(error: ProxyError): void {
    this.#source.cancel(error);
  }

  write(chunk: Buffer): boolean {
    this.#watcher.touch();
    return (this.#sink as BodySink).write(chunk);
  }

  end(trailers: readonly string[] | null): void {
    this.#watcher.touch();
    this.#sink?.end(trailers);
  }

  fail(error: ProxyError): void {
    this.#sink?.fail(error);
  }
}
