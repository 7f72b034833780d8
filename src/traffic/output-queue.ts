import type { Socket } from "node:net";
import { ByteWriter } from "./byte-writer.js";
import { flushAfterReading, type TurnOutput } from "./turn-flush.js";

/** Slices from this size on are handed over as they are: copying them would cost more than a write of their own. */
const maxCopiedBytes = 16 * 1024;
/** Queued bytes at which a flush happens at once. */
const flushBytes = 64 * 1024;
/** Room for a head and a small body. */
const usualBytes = 2048;
/** Buffers of that size that wait for their next use, all connections together. */
const maxSpares = 64;

const spares: Buffer[] = [];

/**
 * Collects what one event-loop turn writes to a socket and hands it over as one buffer: one system call, one TLS record. A
 * flush happens by itself when all sockets of the turn were read, or earlier through flush().
 */
export class OutputQueue implements TurnOutput {
  readonly #socket: Socket;
  /** Holds a buffer only while there is something in it: a connection at rest costs none. */
  readonly #out = new ByteWriter(0);
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

  /** Where heads and framing are written, behind all that was queued before; a flush is scheduled. */
  open(): ByteWriter {
    const out = this.#out;
    if (out.at >= flushBytes) this.flush();
    if (out.bytes.length === 0) out.bytes = spares.pop() ?? Buffer.allocUnsafeSlow(usualBytes);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      flushAfterReading(this);
    }
    return out;
  }

  /** Queues body bytes. False: the socket is full, stop until onRoom. */
  write(chunk: Buffer): boolean {
    if (chunk.length >= maxCopiedBytes) {
      this.flush();
      this.#send(chunk);
    } else {
      const out = this.open();
      out.ensure(chunk.length);
      out.at += chunk.copy(out.bytes, out.at);
      if (out.at >= flushBytes) this.flush();
    }
    return !this.#isBlocked;
  }

  /** Hands everything queued to the socket now. */
  flush(): void {
    const out = this.#out;
    const { at, bytes } = out;
    if (at === 0) return;
    out.at = 0;
    out.bytes = noBytes;
    this.#send(at === bytes.length ? bytes : bytes.subarray(0, at));
    // Nothing left to write: the system has a copy.
    if (bytes.length === usualBytes && this.#socket.writableLength === 0 && spares.length < maxSpares) {
      spares.push(bytes);
    }
  }

  /** Forgets what was not flushed yet. */
  discard(): void {
    this.#out.at = 0;
    this.#out.bytes = noBytes;
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
}

const noBytes = Buffer.alloc(0);
