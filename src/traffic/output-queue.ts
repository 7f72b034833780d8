import type { Socket } from "node:net";
import { flushAfterReading, type TurnOutput } from "./turn-flush.js";

/** Slices from this size on are handed over as they are: copying them would cost more than a write of their own. */
const maxCopiedBytes = 16 * 1024;
/** Queued bytes at which a flush happens at once. */
const flushBytes = 64 * 1024;

/**
 * Collects what one event-loop callback writes to a socket and hands it over as one buffer: one system call, one TLS
 * record. A flush happens by itself at the end of the callback, or earlier through flush().
 */
export class OutputQueue implements TurnOutput {
  readonly #socket: Socket;
  #parts: (string | Buffer)[] = [];
  #bytes = 0;
  #isScheduled = false;
  #isBlocked = false;
  /** Bytes handed to the socket since it was opened. */
  flushedBytes = 0;

  readonly #onWritten: ((error?: Error | null) => void) | undefined;

  /**
   * @param onRoom the socket has room again after it was full.
   * @param onWriteError a write failed; the socket is still open, but will be destroyed on return.
   */
  constructor(socket: Socket, onRoom: () => void, onWriteError?: () => void) {
    this.#socket = socket;
    if (onWriteError !== undefined) {
      this.#onWritten = (error) => {
        if (error !== null && error !== undefined) onWriteError();
      };
    }
    socket.on("drain", () => {
      this.#isBlocked = false;
      onRoom();
    });
  }

  /** The socket has not taken yet what it was handed: whoever can wait, waits for onRoom. */
  get isFull(): boolean {
    return this.#isBlocked;
  }

  /** Queues latin1 text: heads and chunk framing. */
  text(text: string): void {
    this.#parts.push(text);
    this.#bytes += text.length;
    if (!this.#isScheduled) this.#schedule();
  }

  /** Queues body bytes. False: the socket is full, stop until onRoom. */
  write(chunk: Buffer): boolean {
    if (chunk.length >= maxCopiedBytes) {
      this.flush();
      this.#send(chunk);
    } else {
      this.#parts.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes >= flushBytes) this.flush();
      else if (!this.#isScheduled) this.#schedule();
    }
    return !this.#isBlocked;
  }

  /** Hands everything queued to the socket now. */
  flush(): void {
    const parts = this.#parts;
    if (parts.length === 0) return;
    if (parts.length === 1) {
      const only = parts[0] as string | Buffer;
      parts.length = 0;
      this.#bytes = 0;
      if (typeof only === "string") this.#sendText(only);
      else this.#send(only);
      return;
    }
    const bytes = Buffer.allocUnsafe(this.#bytes);
    let at = 0;
    for (const part of parts) {
      if (typeof part === "string") at += bytes.write(part, at, "latin1");
      else at += part.copy(bytes, at);
    }
    parts.length = 0;
    this.#bytes = 0;
    this.#send(bytes);
  }

  /** Forgets what was not flushed yet. */
  discard(): void {
    this.#parts.length = 0;
    this.#bytes = 0;
  }

  /** Only for turn-flush. */
  runScheduled(): void {
    this.#isScheduled = false;
    this.flush();
  }

  #send(bytes: Buffer): void {
    if (!this.#socket.writable) return;
    this.flushedBytes += bytes.length;
    if (!this.#socket.write(bytes, this.#onWritten)) this.#isBlocked = true;
  }

  #sendText(text: string): void {
    if (!this.#socket.writable) return;
    this.flushedBytes += text.length;
    if (!this.#socket.write(text, "latin1", this.#onWritten)) this.#isBlocked = true;
  }

  #schedule(): void {
    this.#isScheduled = true;
    flushAfterReading(this);
  }
}
