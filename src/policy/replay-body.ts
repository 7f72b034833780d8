import type { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";

/** Above this many slices the copy is merged: one-byte chunks must not cost a Buffer object each. */
const maxSlices = 64;

/** What the live source has done so far. */
type LiveState =
  | { readonly at: "unattached" }
  | { readonly at: "flowing" }
  /** It was told "full" and waits for resume(). */
  | { readonly at: "paused" }
  | { readonly at: "ended"; readonly trailers: readonly string[] | null }
  | { readonly at: "failed"; readonly error: ProxyError };

const unattached: LiveState = { at: "unattached" };
const flowing: LiveState = { at: "flowing" };
const paused: LiveState = { at: "paused" };

/**
 * A request body that can be sent again: streams the live source through to the present attempt and keeps what passed.
 * Each attempt gets its own BodySource, which begins with the kept bytes and goes on with the live ones. A body longer than
 * the limit streams on, its copy is dropped, and it cannot be sent again. Between two attempts the live source is paused.
 *
 * Bounded by `maxBytes`, plus the one slice that a source may have under way when an attempt dies.
 * Source: linkerd2-proxy ReplayBody.
 */
export class ReplayBody implements BodySink {
  readonly length: number;
  readonly #source: BodySource;
  readonly #maxBytes: number;
  #live: LiveState = unattached;
  /** Complete copy of what the source gave, unless `#isCopyLost`. */
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #isCopyLost = false;
  /** No further attempt will come. */
  #isReleased = false;

  /** The present attempt, its consumer, and how many slices of the copy it has had. */
  #attempt: Attempt | null = null;
  #sink: BodySink | null = null;
  #sent = 0;
  #hasRoom = true;
  #isReplaying = false;
  /** The present attempt wants no more. */
  #refusal: ProxyError | null = null;

  constructor(source: BodySource, maxBytes: number) {
    this.#source = source;
    this.length = source.length;
    this.#maxBytes = maxBytes;
  }

  /** Can another attempt receive the whole body? */
  get canReplay(): boolean {
    return !this.#isCopyLost && !this.#isReleased && this.#live.at !== "failed";
  }

  /** The body for the next attempt. The one before gets nothing any more. */
  nextAttempt(): BodySource {
    this.#attempt = new Attempt(this);
    this.#sink = null;
    this.#sent = 0;
    this.#hasRoom = true;
    this.#refusal = null;
    return this.#attempt;
  }

  /** The present attempt is the last: drops the copy, and passes a refusal on to the source. Idempotent. */
  release(): void {
    this.#isReleased = true;
    this.#dropSentCopy();
    if (this.#refusal !== null) this.#cancelSource(this.#refusal);
  }

  // The side of the attempts.

  attachFrom(attempt: Attempt, sink: BodySink): void {
    if (attempt !== this.#attempt) return;
    this.#sink = sink;
    this.#replay();
  }

  resumeFrom(attempt: Attempt): void {
    if (attempt !== this.#attempt || this.#sink === null) return;
    this.#hasRoom = true;
    this.#replay();
  }

  cancelFrom(attempt: Attempt, error: ProxyError): void {
    if (attempt !== this.#attempt || this.#refusal !== null) return;
    this.#sink = null;
    this.#refusal = error;
    // Otherwise the source is kept for the attempt that may follow.
    if (this.#isReleased) this.#cancelSource(error);
  }

  // The side of the live source.

  write(chunk: Buffer): boolean {
    const isCaughtUp = this.#sink !== null && this.#sent === this.#kept.length && !this.#isReplaying;
    if (!isCaughtUp) {
      // Nobody to take it now: it waits in the copy, whatever the limit, because it is nowhere else.
      if (!this.#isCopyLost && !(this.#isReleased && this.#refusal !== null)) this.#keep(chunk);
      this.#live = paused;
      return false;
    }
    this.#passOn(chunk);
    // The write may have ended the attempt, begun the next, or cancelled the source: only the outcome counts.
    if (this.#live.at === "failed") return false;
    const goesOn = this.#sink !== null && this.#sent === this.#kept.length && this.#hasRoom;
    this.#live = goesOn ? flowing : paused;
    return goesOn;
  }

  end(trailers: readonly string[] | null): void {
    this.#live = { at: "ended", trailers };
    this.#replay();
  }

  fail(error: ProxyError): void {
    this.#live = { at: "failed", error };
    // At once: an attempt without the rest of its body need not get what is left of the copy.
    const sink = this.#sink;
    this.#sink = null;
    sink?.fail(error);
  }

  #passOn(chunk: Buffer): void {
    if (!this.#isCopyLost && !this.#isReleased) {
      if (this.#keptBytes + chunk.length > this.#maxBytes) {
        this.#isCopyLost = true;
        this.#dropSentCopy();
      } else {
        // Before the write, which may lead to the next attempt at once.
        this.#keep(chunk);
        this.#compact();
        this.#sent = this.#kept.length;
      }
    }
    const sink = this.#sink;
    const hasRoom = sink?.write(chunk) ?? false;
    if (sink === this.#sink) this.#hasRoom = hasRoom;
  }

  /** Brings the present attempt as far as its consumer has room, then lets the live source go on. */
  #replay(): void {
    if (this.#isReplaying) return;
    this.#isReplaying = true;
    while (this.#sink !== null && this.#hasRoom && this.#sent < this.#kept.length) {
      const sink: BodySink = this.#sink;
      const hasRoom = sink.write(this.#kept[this.#sent++] as Buffer);
      // The write may have led to another attempt, which has its own room.
      if (sink === this.#sink) this.#hasRoom = hasRoom;
    }
    this.#isReplaying = false;
    const sink = this.#sink;
    if (sink === null || this.#sent < this.#kept.length) return;
    if (this.#isReleased || this.#isCopyLost) this.#dropSentCopy();
    this.#continueLive(sink);
  }

  #continueLive(sink: BodySink): void {
    const live = this.#live;
    switch (live.at) {
      case "unattached":
        if (!this.#hasRoom) return;
        this.#live = flowing;
        return this.#source.attach(this);
      case "flowing":
        return;
      case "paused":
        if (!this.#hasRoom) return;
        this.#live = flowing;
        return this.#source.resume();
      case "ended":
        this.#sink = null;
        return sink.end(live.trailers);
      case "failed":
        this.#sink = null;
        return sink.fail(live.error);
    }
  }

  #keep(chunk: Buffer): void {
    this.#kept.push(chunk);
    this.#keptBytes += chunk.length;
  }

  #compact(): void {
    if (this.#kept.length > maxSlices) this.#kept = [Buffer.concat(this.#kept)];
  }

  /** Frees the copy once the present attempt has had all of it; before, it is the only source of those bytes. */
  #dropSentCopy(): void {
    const isNeeded = this.#refusal === null && this.#sent < this.#kept.length;
    if (isNeeded) return;
    this.#kept = [];
    this.#keptBytes = 0;
    this.#sent = 0;
  }

  #cancelSource(error: ProxyError): void {
    if (this.#live.at === "ended" || this.#live.at === "failed") return;
    this.#live = { at: "failed", error };
    this.#source.cancel(error);
  }
}

/** The body as one attempt sees it. Its calls have no effect once another attempt has begun. */
class Attempt implements BodySource {
  readonly length: number;
  readonly #body: ReplayBody;

  constructor(body: ReplayBody) {
    this.#body = body;
    this.length = body.length;
  }

  attach(sink: BodySink): void {
    this.#body.attachFrom(this, sink);
  }

  resume(): void {
    this.#body.resumeFrom(this);
  }

  cancel(error: ProxyError): void {
    this.#body.cancelFrom(this, error);
  }
}
