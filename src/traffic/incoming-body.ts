import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "./body.js";

/** What a message body being received needs from the connection that receives it. */
export interface BodyInlet {
  /** Stop reading the socket. */
  pauseReading(): void;
  resumeReading(): void;
  /** The consumer wants no more of this body. */
  bodyCancelled(error: ProxyError): void;
}

/**
 * The receiving end of a body: the connection pushes slices in, the attached sink gets them. Until a sink is attached, what
 * came with the head is held and the socket stays paused.
 */
export class IncomingBody implements BodySource {
  readonly length: number;
  readonly #inlet: BodyInlet;
  #sink: BodySink | null = null;
  #held: Buffer[] = [];
  #heldEnd: { trailers: readonly string[] | null } | null = null;
  #heldError: ProxyError | null = null;
  #state: "open" | "complete" | "failed" | "cancelled" = "open";

  constructor(length: number, inlet: BodyInlet) {
    this.length = length;
    this.#inlet = inlet;
  }

  get isAttached(): boolean {
    return this.#sink !== null;
  }

  attach(sink: BodySink): void {
    this.#sink = sink;
    const held = this.#held;
    this.#held = [];
    let hasRoom = true;
    for (const chunk of held) {
      if (this.#state === "cancelled") return;
      hasRoom = sink.write(chunk);
    }
    if (this.#state === "cancelled") return;
    if (this.#heldError !== null) sink.fail(this.#heldError);
    else if (this.#heldEnd !== null) sink.end(this.#heldEnd.trailers);
    else if (hasRoom) this.#inlet.resumeReading();
  }

  resume(): void {
    if (this.#state === "open" && this.#sink !== null) this.#inlet.resumeReading();
  }

  cancel(error: ProxyError): void {
    if (this.#state === "cancelled") return;
    const wasOpen = this.#state === "open";
    this.#state = "cancelled";
    this.#held = [];
    if (wasOpen) this.#inlet.bodyCancelled(error);
  }

  /** For the connection: bytes arrived. */
  push(chunk: Buffer): void {
    if (this.#state !== "open") return;
    if (this.#sink === null) {
      this.#held.push(chunk);
      this.#inlet.pauseReading();
      return;
    }
    if (!this.#sink.write(chunk)) this.#inlet.pauseReading();
  }

  /** For the connection: the body is complete. */
  complete(trailers: readonly string[] | null): void {
    if (this.#state !== "open") return;
    this.#state = "complete";
    if (this.#sink === null) this.#heldEnd = { trailers };
    else this.#sink.end(trailers);
  }

  /** For the connection: the rest will not come. */
  breakOff(error: ProxyError): void {
    if (this.#state !== "open") return;
    this.#state = "failed";
    if (this.#sink === null) this.#heldError = error;
    else this.#sink.fail(error);
  }
}
