import { maxOrphanMs } from "../config/idempotency-defaults.js";
import type { IdempotencyConfig } from "../config/idempotency-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Counter } from "../telemetry/cells.js";
import type { Clock } from "../time/clock.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import { BufferedBody, type BodySource } from "../traffic/body.js";
import { getHeader, removeHeader, setHeader } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { IdempotencyRefusals } from "./idempotency-refusals.js";
import { entryId, readIdempotencyKey } from "./idempotency-key.js";
import type { Claim, Found, IdempotencyStore } from "./idempotency-store.js";
import { KeptBody, type BodyKeeper } from "./kept-body.js";
import {
  DigestedBody,
  DigestReader,
  emptyDigest,
  operationOf,
  type BodyDigest,
} from "./request-fingerprint.js";
import { decodeStoredReply, encodeStoredReply, type StoredReply } from "./stored-reply.js";

/** What requests with a key came to. */
export interface IdempotencyMeters {
  /** Executions begun. */
  readonly executed: Counter;
  /** Executions whose key is free again: what became of them is not known, or they failed. */
  readonly freed: Counter;
  /** Answered from the store. */
  readonly replayed: Counter;
  /** Told to come again: the first is under way. */
  readonly conflicts: Counter;
  /** The key belongs to another request. */
  readonly mismatches: Counter;
  /** Executed before, and the response was too long to be kept. */
  readonly notKept: Counter;
  /** Without a key that is required, or with one that cannot be read. */
  readonly invalid: Counter;
  /** Turned away because nothing could be remembered of them. */
  readonly refused: Counter;
}

export interface IdempotencyOptions {
  readonly config: IdempotencyConfig;
  /** Our own SPIFFE id. */
  readonly service: string;
  readonly store: IdempotencyStore;
  readonly meters: IdempotencyMeters;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
}

/**
 * Executes a request with an Idempotency-Key once, and answers those that repeat it from what it came to. An execution is
 * not cancelled when its caller goes away: the caller that comes back finds its result. gRPC calls and tunnels pass untouched.
 * Source: draft-ietf-httpapi-idempotency-key-header-07.
 */
export function idempotency(options: IdempotencyOptions): Layer {
  const { config, meters } = options;
  const methods = new Set(config.methods);
  const refusals = new IdempotencyRefusals(config);
  return (inner) => ({
    call(request, reply) {
      const { head } = request;
      if (!methods.has(head.method) || head.upgrade !== "" || request.isGrpc)
        return inner.call(request, reply);
      const reading = readIdempotencyKey(head.headers);
      if (reading.type === "key")
        return new KeyedCall(options, refusals, request, reply).begin(inner, reading.key);
      if (reading.type === "absent" && !config.isRequired) return inner.call(request, reply);
      meters.invalid.value++;
      reply.end(reading.type === "absent" ? refusals.missing() : refusals.invalid(reading.reason));
      return endedCall;
    },
  });
}

/**
 * asking: the store is asked · comparing: the key is known, the body is read to see whether it is the same request ·
 * executing · orphaned: executing, and the caller has gone away
 */
type Phase = "asking" | "comparing" | "executing" | "orphaned" | "ended";

/** Ends an execution without a caller that has had its time. */
const abandoned = new ProxyError("client_gone", "the caller went away and the execution took too long");

class KeyedCall implements Call, Reply, BodyKeeper, TimerTarget {
  readonly #options: IdempotencyOptions;
  readonly #refusals: IdempotencyRefusals;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #operation: string;
  #phase: Phase = "asking";
  #reader: DigestReader | null = null;
  #claim: Claim | null = null;
  #digested: DigestedBody | null = null;
  #digest: BodyDigest | null = null;
  /** The execution under way; null while its call has not returned yet. */
  #execution: Call | null = null;
  /** Given up before its call had returned. */
  #cancelledWith: ProxyError | null = null;
  /** A head has come that says nothing lasting. */
  #isFailure = false;
  /** A head that may be kept. */
  #head: { readonly status: number; readonly headers: readonly string[] } | null = null;
  #kept: KeptBody | null = null;
  #orphanTimer: WheelTimer | null = null;

  constructor(
    options: IdempotencyOptions,
    refusals: IdempotencyRefusals,
    request: RequestContext,
    reply: Reply,
  ) {
    this.#options = options;
    this.#refusals = refusals;
    this.#request = request;
    this.#reply = reply;
    this.#operation = operationOf(request.head);
  }

  begin(inner: Service, key: string): this {
    const { config, service, store } = this.#options;
    const id = entryId({ service, name: config.name, caller: this.#request.peerId }, key);
    store.claim(id, this.#operation, (found) => {
      try {
        this.#found(inner, found);
      } catch (cause) {
        // The answer may come when nobody is left above who would catch it.
        this.end(new ProxyError("internal", "unexpected failure, see the sidecar's log", { cause }));
      }
    });
    return this;
  }

  cancel(error: ProxyError): void {
    switch (this.#phase) {
      case "asking":
      case "comparing":
        this.#reader?.cancel(error);
        return this.#end(error);
      case "executing":
        if (this.#isWorthFinishing(error)) return this.#orphan(error);
        this.#cancelledWith = error;
        return this.#execution?.cancel(error);
      case "orphaned":
      case "ended":
        return;
    }
  }

  onTimer(): void {
    this.#execution?.cancel(abandoned);
  }

  informational(head: ResponseHead): void {
    if (this.#phase === "executing") this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    let source = body;
    this.#isFailure = !isLasting(head.status);
    if (!this.#isFailure) {
      const headers = [...head.headers];
      removeHeader(headers, "trailer");
      this.#head = { status: head.status, headers };
      if (body === null) this.#keep(Buffer.alloc(0));
      else source = this.#kept = new KeptBody(body, this.#options.config.maxBodyBytes, this);
    }
    if (this.#phase === "executing") return this.#reply.head(head, source);
    if (this.#kept !== null && !this.#kept.isTooLong) return this.#kept.goOnAlone();
    if (body !== null) this.#execution?.cancel(abandoned);
  }

  end(error: ProxyError | null): void {
    const kept = this.#kept;
    // It was executed, and there is no use in reading a response that cannot be kept for a caller who has gone away.
    if (kept?.isTooLong === true && (error === null || error.row.side === "downstream")) this.#keep(null);
    // A body that is still on its way to a slow caller settles the claim itself.
    else if (kept === null || error !== null) this.#free();
    this.#end(error);
  }

  bodyKept(bytes: Buffer): void {
    this.#keep(bytes);
  }

  bodyLost(): void {
    this.#free();
  }

  #found(inner: Service, found: Found): void {
    // The caller went away while the store was asked.
    if (this.#phase !== "asking") return found.state === "claimed" ? found.claim.free() : undefined;
    const { meters } = this.#options;
    switch (found.state) {
      case "claimed":
        return this.#execute(inner, found.claim);
      case "running":
        if (found.operation !== this.#operation)
          return this.#refuse(meters.mismatches, this.#refusals.mismatch());
        return this.#refuse(meters.conflicts, this.#refusals.conflict());
      case "done": {
        const stored = decodeStoredReply(found.reply);
        if (stored === undefined)
          return this.#refuse(meters.refused, this.#refusals.unavailable("what is stored cannot be read"));
        return this.#compare(stored);
      }
      case "full":
        return this.#refuse(meters.refused, this.#refusals.full(found.limit));
      case "unavailable":
        return this.#refuse(meters.refused, this.#refusals.unavailable(found.reason));
    }
  }

  #execute(inner: Service, claim: Claim): void {
    const request = this.#request;
    const { config, meters } = this.#options;
    meters.executed.value++;
    this.#phase = "executing";
    this.#claim = claim;
    if (request.body === null) {
      this.#digest = emptyDigest(config.maxRequestBytes);
    } else {
      request.body = this.#digested = new DigestedBody(request.body, config.maxRequestBytes);
      this.#digest = this.#digested.digest;
    }
    const execution = inner.call(request, this);
    // Read anew: all may have happened during the call.
    if ((this.#phase as Phase) === "ended") return;
    this.#execution = execution;
    if (this.#cancelledWith !== null) execution.cancel(this.#cancelledWith);
  }

  /** Its caller has gone away, the application has all of the request, and what it says may be kept. */
  #isWorthFinishing(error: ProxyError): boolean {
    if (error.row.side !== "downstream") return false;
    if (this.#digested !== null && !this.#digested.isComplete) return false;
    return this.#claim !== null && !this.#isFailure && this.#kept?.isTooLong !== true;
  }

  #orphan(error: ProxyError): void {
    const { clock, wheel } = this.#options;
    const leftMs = this.#request.deadlineMs - clock.monotonicMs();
    this.#phase = "orphaned";
    this.#orphanTimer = wheel.add(Math.max(0, Math.min(maxOrphanMs, leftMs)), this);
    this.#kept?.goOnAlone();
    this.#reply.end(error);
  }

  #keep(body: Buffer | null): void {
    const claim = this.#claim;
    const head = this.#head;
    if (claim === null || head === null) return;
    this.#claim = null;
    const { maxRequestBytes: digestBytes } = this.#options.config;
    const digest = this.#digest?.value ?? null;
    claim.keep(encodeStoredReply({ operation: this.#operation, digest, digestBytes, ...head, body }));
  }

  #free(): void {
    if (this.#claim === null) return;
    this.#options.meters.freed.value++;
    this.#claim.free();
    this.#claim = null;
  }

  #compare(stored: StoredReply): void {
    if (stored.operation !== this.#operation)
      return this.#refuse(this.#options.meters.mismatches, this.#refusals.mismatch());
    const { body, head } = this.#request;
    // Answered before its body was read: the body made no difference.
    if (stored.digest === null) return this.#replay(stored);
    if (body === null) return this.#judge(stored, emptyDigest(stored.digestBytes));
    this.#phase = "comparing";
    if (getHeader(head.headers, "expect") !== undefined)
      this.#reply.informational({ status: 100, reason: "", version: "1.1", headers: [] });
    const reader = new DigestReader(body, stored.digestBytes, (error) => {
      // The reply must not end the request inside of the delivery of its body.
      process.nextTick(() => {
        if (this.#phase === "ended") return;
        if (error !== null) this.#end(error);
        else this.#judge(stored, reader.digest);
      });
    });
    this.#reader = reader;
    reader.start();
  }

  #judge(stored: StoredReply, digest: BodyDigest): void {
    if (stored.digest === digest.value) return this.#replay(stored);
    this.#refuse(this.#options.meters.mismatches, this.#refusals.mismatch());
  }

  #replay({ status, headers, body }: StoredReply): void {
    const { meters } = this.#options;
    if (body === null) return this.#refuse(meters.notKept, this.#refusals.notKept(status));
    meters.replayed.value++;
    const replayed = [...headers];
    setHeader(replayed, "idempotency-replayed", "true");
    if (status !== 204 && status !== 304) setHeader(replayed, "content-length", `${body.length}`);
    const head: ResponseHead = { status, reason: "", version: "1.1", headers: replayed };
    this.#phase = "ended";
    this.#reply.head(head, body.length === 0 ? null : new BufferedBody(body));
    this.#reply.end(null);
  }

  #refuse(counter: Counter, error: ProxyError): void {
    counter.value++;
    this.#end(error);
  }

  #end(error: ProxyError | null): void {
    const wasOrphaned = this.#phase === "orphaned";
    this.#phase = "ended";
    this.#orphanTimer?.cancel();
    if (!wasOrphaned) this.#reply.end(error);
  }
}

/** Answers that turn a request away unexecuted: who comes again with fresh credentials, or later, is another matter (RFC 9110 §15.5). */
const turnedAway: ReadonlySet<number> = new Set([401, 403, 407, 408, 421, 425, 429]);

/** Other statuses, and failures, are told to the first caller only: a repeated request is executed again. */
function isLasting(status: number): boolean {
  return status < 500 && !turnedAway.has(status);
}
