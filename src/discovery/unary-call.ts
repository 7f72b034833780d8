import { Metadata, type Client, type MethodDefinition } from "@grpc/grpc-js";
import type { Clock } from "../time/clock.js";

export interface UnaryCallOptions {
  readonly clock: Clock;
  /** Connecting included; then it is given up as CANCELLED. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** One request, one answer. Rejects with grpc-js' ServiceError. */
export function unaryCall<Q, A>(
  client: Client,
  { path, requestSerialize, responseDeserialize }: MethodDefinition<Q, A>,
  request: Q,
  { clock, timeoutMs, signal }: UnaryCallOptions,
): Promise<A> {
  return new Promise((resolve, reject) => {
    const abort = (): void => pending.cancel();
    const limit = clock.timer(timeoutMs, abort);
    const pending = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      (error, answer) => {
        limit.cancel();
        signal?.removeEventListener("abort", abort);
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error ?? new Error("empty answer"));
      },
    );
    if (signal?.aborted === true) abort();
    signal?.addEventListener("abort", abort, { once: true });
  });
}
