import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";

/**
 * What a client sends into the tunnel it asks for, as one attempt sees it. Nothing of it is read before an upstream has opened
 * the tunnel, so it needs no copy to be offered again: an attempt that lets go unread must not take it from the next one.
 */
export class OfferedTunnel implements BodySource {
  readonly length: number;
  readonly #source: BodySource;
  #isAttached = false;
  #refusal: ProxyError | null = null;

  constructor(source: BodySource) {
    this.#source = source;
    this.length = source.length;
  }

  attach(sink: BodySink): void {
    this.#isAttached = true;
    this.#source.attach(sink);
  }

  resume(): void {
    this.#source.resume();
  }

  cancel(error: ProxyError): void {
    this.#refusal ??= error;
    if (this.#isAttached) this.#source.cancel(error);
  }

  /** No further attempt will come: a refusal is final. Idempotent. */
  release(): void {
    if (this.#isAttached) return;
    this.#isAttached = true;
    if (this.#refusal !== null) this.#source.cancel(this.#refusal);
  }
}
