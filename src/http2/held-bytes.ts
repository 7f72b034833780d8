const blockBytes = 4096;

/**
 * Bytes of a body that wait for their consumer, in order. They are copied: a slice would keep the whole chunk it came in,
 * and one-byte frames a Buffer each.
 */
export class HeldBytes {
  #blocks: Buffer[] = [];
  /** The last block, and how much of it is used. */
  #tail: Buffer | null = null;
  #used = 0;
  size = 0;

  push(bytes: Buffer, from: number, to: number): void {
    this.size += to - from;
    let at = from;
    if (this.#tail !== null && this.#used < this.#tail.length) {
      const copied = bytes.copy(this.#tail, this.#used, at, to);
      this.#used += copied;
      at += copied;
    }
    if (at === to) return;
    if (this.#tail !== null) this.#blocks.push(this.#tail);
    this.#tail = Buffer.allocUnsafeSlow(Math.max(blockBytes, to - at));
    this.#used = bytes.copy(this.#tail, 0, at, to);
  }

  /** The next bytes; null when there are none. */
  shift(): Buffer | null {
    let block = this.#blocks.shift() ?? null;
    if (block === null && this.#tail !== null) {
      block = this.#used === this.#tail.length ? this.#tail : this.#tail.subarray(0, this.#used);
      this.#tail = null;
      this.#used = 0;
    }
    if (block !== null) this.size -= block.length;
    return block;
  }
}
