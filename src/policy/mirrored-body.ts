import { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import { PassingBody } from "../traffic/passing-body.js";

/** Most bytes that wait for a mirror (as many as retry keeps of a body). */
const maxWaitingBytes = 64 * 1024;
/** What a slice takes besides its bytes. */
const sliceOverheadBytes = 100;

/** The mirror is too slow, or the original's body was not sent to its end. */
const cutOff = new ProxyError("client_gone", "mirrored request cut off");

/** The request body of a copy: what passes on the way to the original is offered here too, and nobody waits for its taker. */
export class MirroredBody implements BodySource {
  readonly length: number;
  #sink: BodySink | null = null;
  #hasRoom = true;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isFlushing = false;
  #trailers: readonly string[] | null = null;
  /** open: more may come · complete: all of it waits or has gone · over: nothing goes any more */
  #state: "open" | "complete" | "over" = "open";
  #isCutOff = false;

  constructor(length: number) {
    this.length = length;
  }

  /** Bytes are missing: the copy is worth nothing. */
  get isCutOff(): boolean {
    return this.#isCutOff;
  }

  // The side of the original.

  push(chunk: Buffer): void {
    if (this.#state !== "open") return;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length + sliceOverheadBytes;
    this.#flush();
    if (this.#waitingBytes > maxWaitingBytes) this.cutOff();
  }

  complete(trailers: readonly string[] | null): void {
    if (this.#state !== "open") return;
    this.#state = "complete";
    this.#trailers = trailers;
    this.#flush();
  }

  /** The rest will not come. No effect once all has. */
  cutOff(): void {
    if (this.#state !== "open") return;
    this.#isCutOff = true;
    this.#drop()?.fail(cutOff);
  }

  // The side of the copy.

  attach(sink: BodySink): void {
    if (this.#state === "over") return sink.fail(cutOff);
    this.#sink = sink;
    this.#flush();
  }

  resume(): void {
    this.#hasRoom = true;
    this.#flush();
  }

  cancel(): void {
    this.#drop();
  }

  #flush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    while (this.#sink !== null && this.#hasRoom) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.#waitingBytes -= chunk.length + sliceOverheadBytes;
      this.#hasRoom = this.#sink.write(chunk);
    }
    this.#isFlushing = false;
    if (this.#state === "complete" && this.#waiting.length === 0 && this.#sink !== null)
      this.#drop()?.end(this.#trailers);
  }

  #drop(): BodySink | null {
    const sink = this.#sink;
    this.#state = "over";
    this.#sink = null;
    this.#waiting = [];
    this.#waitingBytes = 0;
    return sink;
  }
}

/** A body on its way to the original that is offered to copies as it passes. Changes nothing and holds nothing back. */
export class SharedBody extends PassingBody {
  readonly #copies: readonly MirroredBody[];

  constructor(source: BodySource, copies: readonly MirroredBody[]) {
    super(source);
    this.#copies = copies;
  }

  override cancel(error: ProxyError): void {
    for (const copy of this.#copies) copy.cutOff();
    super.cancel(error);
  }

  override write(chunk: Buffer): boolean {
    // First: within the original's write the next slice may come.
    for (const copy of this.#copies) copy.push(chunk);
    return super.write(chunk);
  }

  override end(trailers: readonly string[] | null): void {
    for (const copy of this.#copies) copy.complete(trailers);
    super.end(trailers);
  }

  override fail(error: ProxyError): void {
    for (const copy of this.#copies) copy.cutOff();
    super.fail(error);
  }
}
