import { createHash, type Hash } from "node:crypto";
import { ProxyError } from "../errors/proxy-error.js";
import type { BodySink, BodySource } from "../traffic/body.js";
import { PassingBody } from "../traffic/passing-body.js";
import type { RequestHead } from "../traffic/message.js";

/** What a request asks for, its body apart. The target is canonical by now. */
export function operationOf({ method, target }: Pick<RequestHead, "method" | "target">): string {
  return createHash("sha256").update(`${method} ${target}`).digest("base64url");
}

/**
 * Hash of a body while it passes. Of a body longer than the limit its beginning and its declared length count: a repeated
 * upload can be answered before all of it has come.
 */
export class BodyDigest {
  readonly maxBytes: number;
  readonly #length: number;
  readonly #hash: Hash = createHash("sha256");
  #bytes = 0;
  #value: string | undefined;

  /** @param length as declared, or -1. */
  constructor(length: number, maxBytes: number) {
    this.#length = length;
    this.maxBytes = maxBytes;
  }

  /** undefined: more of the body is needed. */
  get value(): string | undefined {
    return this.#value;
  }

  add(chunk: Buffer): void {
    if (this.#value !== undefined) return;
    const room = this.maxBytes - this.#bytes;
    this.#bytes += chunk.length;
    this.#hash.update(chunk.length > room ? chunk.subarray(0, room) : chunk);
    if (chunk.length > room) this.#value = `${this.#hash.digest("base64url")} of ${this.#length}`;
  }

  /** The body is complete. */
  end(): void {
    this.#value ??= this.#hash.digest("base64url");
  }
}

/** The digest of no body at all. */
export function emptyDigest(maxBytes: number): BodyDigest {
  const digest = new BodyDigest(0, maxBytes);
  digest.end();
  return digest;
}

/** A request's body on its way to its consumer, hashed as it passes. */
export class DigestedBody extends PassingBody {
  readonly digest: BodyDigest;
  /** All of it has been handed on. */
  isComplete = false;

  constructor(source: BodySource, maxBytes: number) {
    super(source);
    this.digest = new BodyDigest(source.length, maxBytes);
  }

  override write(chunk: Buffer): boolean {
    this.digest.add(chunk);
    return super.write(chunk);
  }

  override end(trailers: readonly string[] | null): void {
    this.isComplete = true;
    this.digest.end();
    super.end(trailers);
  }
}

/** Tells the source of a body that the rest of it makes no difference. */
const enough = new ProxyError("client_gone", "the rest of the request is not needed");

/** Reads a body for its digest alone. */
export class DigestReader implements BodySink {
  readonly digest: BodyDigest;
  readonly #source: BodySource;
  readonly #done: (error: ProxyError | null) => void;
  #isDone = false;

  /** `done` is called once: the digest has a value, or the body failed. The rest of a long body is left unread. */
  constructor(source: BodySource, maxBytes: number, done: (error: ProxyError | null) => void) {
    this.#source = source;
    this.digest = new BodyDigest(source.length, maxBytes);
    this.#done = done;
  }

  start(): void {
    this.#source.attach(this);
  }

  /** The request is over: `done` will not be called. */
  cancel(error: ProxyError): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#source.cancel(error);
  }

  write(chunk: Buffer): boolean {
    if (this.#isDone) return false;
    this.digest.add(chunk);
    if (this.digest.value === undefined) return true;
    this.#source.cancel(enough);
    this.#finish(null);
    return false;
  }

  end(): void {
    this.digest.end();
    this.#finish(null);
  }

  fail(error: ProxyError): void {
    this.#finish(error);
  }

  #finish(error: ProxyError | null): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#done(error);
  }
}
