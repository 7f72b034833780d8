import type { Socket } from "node:net";
import { ByteWriter } from "./byte-writer.js";
import { flushAfterReading, type TurnOutput } from "./turn-flush.js";

/** Collected bytes at which a flush happens at once; as much as one TLS write can hand to the kernel. */
const flushBytes = 128 * 1024;
/** From this size on a chunk is encrypted from where it lies. */
const minDirectBytes = 16 * 1024;
/** Collected and under way: from here on the socket is full. */
const maxQueuedBytes = 256 * 1024;
/** Buffers that wait for their next use, all tunnels together: 4 MiB. */
const maxSpares = 32;

const spares: Buffer[] = [];
const noBytes = Buffer.alloc(0);

/**
 * What a tunnel sends: the TLS records that one event-loop turn reads leave in one system call, from a buffer that is used again
 * as soon as the kernel, or the encryption, has taken its bytes. Nothing of a chunk is kept: it may be overwritten after write().
 */
export class TunnelOutput implements TurnOutput {
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  readonly #isTls: boolean;
  /** Holds a buffer only while there is something in it. */
  readonly #out = new ByteWriter(0);
  #isScheduled = false;
  #isFull = false;
  /** One for each write whose callback has not run yet, in their order: the buffer of ours that is free then. */
  readonly #underWay: (Buffer | null)[] = [];

  /** @param onRoom the socket has room again after it was full. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
    this.#isTls = "encrypted" in socket;
  }

  /** False: the socket is full, stop until onRoom. The chunk is taken all the same. */
  write(chunk: Buffer): boolean {
    const out = this.#out;
    const { length } = chunk;
    // TLS encrypts before write() returns, unless an earlier write is still under way.
    if (this.#isTls && length >= minDirectBytes && out.at === 0 && this.#socket.writableLength === 0) {
      this.#send(chunk, null);
      return true;
    }
    if (out.at + length > flushBytes && this.#canSend()) this.flush();
    if (out.bytes.length === 0) out.bytes = spares.pop() ?? Buffer.allocUnsafeSlow(flushBytes);
    out.ensure(length);
    out.at += chunk.copy(out.bytes, out.at);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      flushAfterReading(this);
    }
    this.#isFull = this.#isOverfull();
    return !this.#isFull;
  }

  /** Hands everything collected to the socket now. */
  flush(): void {
    const out = this.#out;
    const { at, bytes } = out;
    if (at === 0) return;
    out.at = 0;
    out.bytes = noBytes;
    this.#send(at === bytes.length ? bytes : bytes.subarray(0, at), bytes);
  }

  /** Forgets what was not flushed yet. */
  discard(): void {
    this.#out.at = 0;
    this.#out.bytes = noBytes;
  }

  /** Only for turn-flush. */
  runScheduled(): void {
    this.#isScheduled = false;
    if (this.#canSend()) this.flush();
  }

  /** While a write is under way, more is collected: its callback flushes it. */
  #canSend(): boolean {
    return this.#underWay.length === 0 || this.#socket.writableLength === 0;
  }

  #isOverfull(): boolean {
    return this.#out.at + this.#socket.writableLength >= maxQueuedBytes;
  }

  /** @param buffer is what `bytes` lie in, if it is ours. */
  #send(bytes: Buffer, buffer: Buffer | null): void {
    if (!this.#socket.writable) return;
    const wasIdle = this.#socket.writableLength === 0;
    this.#socket.write(bytes, this.#onWritten);
    const isTaken = this.#isTls ? wasIdle : this.#socket.writableLength === 0;
    if (isTaken) giveBack(buffer);
    this.#underWay.push(isTaken ? null : buffer);
  }

  readonly #onWritten = (): void => {
    giveBack(this.#underWay.shift() ?? null);
    if (this.#underWay.length > 0) return;
    this.flush();
    if (!this.#isFull || this.#isOverfull()) return;
    this.#isFull = false;
    this.#onRoom();
  };
}

/** New buffers are memory outside of V8's heap, for which it collects all of it again and again. */
function giveBack(buffer: Buffer | null): void {
  if (buffer !== null && buffer.length === flushBytes && spares.length < maxSpares) spares.push(buffer);
}
