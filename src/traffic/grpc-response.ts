import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "./body.js";

/** Who wants to know how a gRPC response goes on after its head. */
export interface GrpcResponseListener {
  /** The first bytes of a message passed: the server works on the call. At most once. */
  grpcMessage(): void;
  /** The body is complete; its trailers tell how the call ended. At most once; not after a failure or a cancel. */
  grpcTrailers(trailers: readonly string[] | null): void;
}

/** The body of a gRPC response that tells its listener what passes. Changes nothing and holds nothing back. */
export class WatchedGrpcBody implements BodySource, BodySink {
  readonly length: number;
  readonly #source: BodySource;
  readonly #listener: GrpcResponseListener;
  #sink: BodySink | null = null;
  #hasBegun = false;

  constructor(source: BodySource, listener: GrpcResponseListener) {
    this.#source = source;
    this.length = source.length;
    this.#listener = listener;
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
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      this.#listener.grpcMessage();
    }
    return this.#sink?.write(chunk) ?? false;
  }

  end(trailers: readonly string[] | null): void {
    // First: what a caller may ask about a call it has the answer of must be there.
    this.#listener.grpcTrailers(trailers);
    this.#sink?.end(trailers);
  }

  fail(error: ProxyError): void {
    this.#sink?.fail(error);
  }
}
