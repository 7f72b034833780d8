import type { ProxyError } from "../errors/proxy-error.js";

/**
 * Message bodies flow by push with backpressure: a codec's source writes slices into another codec's sink. No streams,
 * no promises, no copies. Everything runs on one event loop; calls may nest (a write may lead to a resume at once).
 */
export interface BodySource {
  /** Bytes to come as declared by the sender, or -1 when only the end of the body tells. */
  readonly length: number;
  /** Connects the one consumer; exactly once. Bytes that already arrived are written before it returns. */
  attach(sink: BodySink): void;
  /** The sink that returned false from write has room again. */
  resume(): void;
  /** The consumer wants no more; no sink method is called after it. Idempotent. */
  cancel(error: ProxyError): void;
}

export interface BodySink {
  /**
   * Takes a slice. False means full: the source stops by itself until resume(). The slice must not be changed by
   * either side afterwards, unless it is lent: only to sinks that are known to keep nothing of it (SocketTunnelOptions).
   */
  write(chunk: Buffer): boolean;
  /** The body is complete. Trailers are flat [name, value, ...], or null. Last call. */
  end(trailers: readonly string[] | null): void;
  /** The body cannot be completed. Last call. */
  fail(error: ProxyError): void;
}

/** A body that is all here: local replies and replayed requests. */
export class BufferedBody implements BodySource {
  readonly length: number;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.length = bytes.length;
  }

  attach(sink: BodySink): void {
    // One slice: the sink may say "full", but there is nothing left to hold back.
    if (this.#bytes.length > 0) sink.write(this.#bytes);
    sink.end(null);
  }

  resume(): void {}

  cancel(): void {}
}
