import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySource } from "../traffic/body.js";
import { PassingBody } from "../traffic/passing-body.js";

/** Who gets the copy, and pays for it while it is made. */
export interface CopyOwner {
  /** Asks for room; false ends the copy, never the body. */
  take(bytes: number): boolean;
  /** The room is no longer needed. */
  giveBack(bytes: number): void;
  /** The body has passed to its end without trailers. Called before its consumer learns of it. */
  done(bytes: Buffer): void;
}

/** What a slice takes besides its bytes: bodies may come byte by byte. */
const sliceOverheadBytes = 100;

/** A body of which a copy is made as it passes. Changes nothing and holds nothing back. */
export class CopiedBody extends PassingBody {
  readonly #owner: CopyOwner;
  /** null: the copy was given up, or is done. */
  #chunks: Buffer[] | null = [];
  #bytes = 0;

  constructor(source: BodySource, owner: CopyOwner) {
    super(source);
    this.#owner = owner;
  }

  override cancel(error: ProxyError): void {
    this.#drop();
    super.cancel(error);
  }

  override write(chunk: Buffer): boolean {
    if (this.#chunks !== null) {
      const bytes = chunk.length + sliceOverheadBytes;
      if (this.#owner.take(bytes)) {
        this.#bytes += bytes;
        this.#chunks.push(chunk);
      } else this.#drop();
    }
    return super.write(chunk);
  }

  override end(trailers: readonly string[] | null): void {
    const chunks = this.#chunks;
    // What was written may be a small part of what was read from the socket: the copy does not hold on to the rest.
    const copy = chunks === null || (trailers?.length ?? 0) > 0 ? undefined : Buffer.concat(chunks);
    this.#drop();
    if (copy !== undefined) this.#owner.done(copy);
    super.end(trailers);
  }

  override fail(error: ProxyError): void {
    this.#drop();
    super.fail(error);
  }

  #drop(): void {
    if (this.#chunks === null) return;
    this.#chunks = null;
    this.#owner.giveBack(this.#bytes);
    this.#bytes = 0;
  }
}
