import type { BodySource } from "./body.js";
import { PassingBody } from "./passing-body.js";

/** Who wants to know how a gRPC response goes on after its head. */
export interface GrpcResponseListener {
  /** The first bytes of a message passed: the server works on the call. At most once. */
  grpcMessage(): void;
  /** The body is complete; its trailers tell how the call ended. At most once; not after a failure or a cancel. */
  grpcTrailers(trailers: readonly string[] | null): void;
}

/** The body of a gRPC response that tells its listener what passes. Changes nothing and holds nothing back. */
export class WatchedGrpcBody extends PassingBody {
  readonly #listener: GrpcResponseListener;
  #hasBegun = false;

  constructor(source: BodySource, listener: GrpcResponseListener) {
    super(source);
    this.#listener = listener;
  }

  override write(chunk: Buffer): boolean {
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      this.#listener.grpcMessage();
    }
    return super.write(chunk);
  }

  override end(trailers: readonly string[] | null): void {
    // First: what a caller may ask about a call it has the answer of must be there.
    this.#listener.grpcTrailers(trailers);
    super.end(trailers);
  }
}
