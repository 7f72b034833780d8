import type { Socket } from "node:net";
import { lendReads } from "./lent-reads.js";

/** Takes what a socket receives. A lent chunk is overwritten after the call: what is kept of it must be copied. */
export type ChunkTaker = (chunk: Buffer, isLent: boolean) => void;

/**
 * Reads a connection of short messages without a buffer for each read: for a head that becomes text at once, node's buffer of
 * 64 KiB and the queue of its streams are a quarter of all that a request costs.
 */
export class SocketReader {
  readonly #socket: Socket;
  readonly #onData: (chunk: Buffer) => void;
  #isReading = true;

  constructor(socket: Socket, take: ChunkTaker) {
    this.#socket = socket;
    // Also what was read before by somebody else and put back.
    this.#onData = (chunk) => take(chunk, false);
    socket.on("data", this.#onData);
    lendReads(socket, (chunk) => {
      if (this.#isReading) take(chunk, true);
      else socket.emit("data", Buffer.from(chunk));
    });
  }

  /** Leaves the socket to the next listener of "data". */
  stop(): void {
    this.#isReading = false;
    this.#socket.off("data", this.#onData);
  }
}
