import type { ServerWritableStream } from "@grpc/grpc-js";

/** The part of a server's stream that is needed here. */
export type AnswerStream<T> = Pick<
  ServerWritableStream<unknown, T>,
  "write" | "on" | "once" | "removeListener"
>;

/**
 * Sends the newest answer now and whenever it changes, until the call ends. A client that reads slowly skips what lies
 * between; equal answers are sent once.
 *
 * @param read the present answer with a text that differs when it does.
 * @param watch calls back on every possible change; returns the function that ends that.
 */
export function streamLatest<T>(
  call: AnswerStream<T>,
  read: () => { readonly version: string; readonly answer: T } | undefined,
  watch: (changed: () => void) => () => void,
): void {
  let sent: string | undefined;
  let isFull = false;
  const send = (): void => {
    const latest = isFull ? undefined : read();
    if (latest === undefined || latest.version === sent) return;
    sent = latest.version;
    isFull = !call.write(latest.answer);
  };
  const drained = (): void => {
    isFull = false;
    send();
  };
  const stop = watch(send);
  const end = (): void => {
    stop();
    call.removeListener("drain", drained);
  };
  call.on("drain", drained);
  call.once("cancelled", end);
  call.once("close", end);
  call.once("error", end);
  send();
}
