import type { Socket } from "node:net";
import { Duplex } from "node:stream";

/** What is told about all that was written. */
export interface Written {
  readonly bytes: Buffer;
  /** FIN, or the socket is gone. */
  readonly isOver: boolean;
}

/** A socket in memory: `arrive` is what the peer sends; what is written is kept. */
export class MemorySocket extends Duplex {
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort = 1;
  readonly localAddress = "127.0.0.1";
  readonly localPort = 2;
  readonly connecting = false;
  readonly #chunks: Buffer[] = [];
  readonly #isSlow: boolean;
  #size = 0;

  /** Slow: a write is taken one turn of the event loop later. */
  constructor(isSlow: boolean) {
    super({ allowHalfOpen: true, decodeStrings: true, highWaterMark: isSlow ? 512 : 16_384 });
    this.#isSlow = isSlow;
  }

  arrive(bytes: Buffer): void {
    if (!this.destroyed && !this.readableEnded) this.push(bytes);
  }

  /** FIN of the peer. */
  finish(): void {
    if (!this.destroyed && !this.readableEnded) this.push(null);
  }

  /** RST of the peer. */
  reset(): void {
    this.destroy(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }));
  }

  get size(): number {
    return this.#size;
  }

  get written(): Written {
    return { bytes: Buffer.concat(this.#chunks), isOver: this.destroyed || this.writableEnded };
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  resetAndDestroy(): this {
    return this.destroy();
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    // The writer may reuse its buffer as soon as the write is done.
    this.#chunks.push(Buffer.from(chunk));
    this.#size += chunk.length;
    if (this.#isSlow) setImmediate(done);
    else done();
  }

  get asSocket(): Socket {
    return this as unknown as Socket;
  }
}
