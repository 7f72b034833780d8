import type { RateLimitConfig } from "../config/rate-limit-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { Counter } from "../telemetry/cells.js";
import { formatDuration } from "../time/duration.js";
import { keyOf, type KeyOf } from "./rate-limit-key.js";
import { type BucketSize, TokenBuckets } from "./token-buckets.js";

/** Buckets that one limit remembers: some megabytes at most. */
const maxKeys = 10_000;
/** Refusals kept ready, one per waiting time. */
const maxRefusals = 256;
/** A closed limit may open at any moment; this keeps callers from hurrying. */
const closedWaitMs = 1000;

export interface LimiterMeters {
  readonly admitted: Counter;
  readonly limited: Counter;
  /** Requests that a shared limit judged without the store. */
  readonly unavailable: Counter;
}

/** One limit at run time. Its buckets outlive changes of its numbers. */
export class Limiter {
  readonly meters: LimiterMeters;
  readonly buckets: TokenBuckets;
  #config: RateLimitConfig;
  #keyOf: KeyOf;
  /** Made once per waiting time: under a flood, a stack trace for each request would add to the load. */
  readonly #refusals = new Map<number, ProxyError>();
  #closedToHttp: ProxyError | undefined;
  #closedToGrpc: ProxyError | undefined;

  constructor(config: RateLimitConfig, meters: LimiterMeters) {
    this.meters = meters;
    this.buckets = new TokenBuckets(sizeOf(config), maxKeys);
    this.#config = config;
    this.#keyOf = keyOf(config.keys);
  }

  get config(): RateLimitConfig {
    return this.#config;
  }

  get keyOf(): KeyOf {
    return this.#keyOf;
  }

  configure(config: RateLimitConfig): void {
    this.#config = config;
    this.#keyOf = keyOf(config.keys);
    this.buckets.configure(sizeOf(config));
    this.#refusals.clear();
    this.#closedToHttp = undefined;
    this.#closedToGrpc = undefined;
  }

  /** Its item in RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers): a window of less than a second cannot be said. */
  get policyItem(): string {
    const { requests, perMs } = this.#config;
    return `${this.#quoted};q=${requests}${perMs % 1000 === 0 ? `;w=${perMs / 1000}` : ""}`;
  }

  /** Its item in RateLimit. @param waitMs until there is a token, when there is none. */
  stateItem(tokens: number, waitMs: number): string {
    const remaining = Math.floor(tokens);
    const wait = remaining > 0 ? "" : `;t=${Math.ceil(waitMs / 1000)}`;
    return `${this.#quoted};r=${remaining}${wait}`;
  }

  /** What a request over the limit is told. @param policy value of RateLimit-Policy. */
  refusal(waitMs: number, isGrpc: boolean, policy: string): ProxyError {
    // Callers of HTTP are told in seconds, those of gRPC in milliseconds.
    const pushbackMs = waitMs < 1000 ? Math.ceil(waitMs / 10) * 10 : Math.ceil(waitMs / 1000) * 1000;
    const key = isGrpc ? -pushbackMs : Math.ceil(waitMs / 1000);
    const known = this.#refusals.get(key);
    if (known !== undefined) return known;
    if (this.#refusals.size >= maxRefusals) this.#refusals.clear();
    const made = this.#made(this.#text, isGrpc ? pushbackMs : waitMs, isGrpc, policy);
    this.#refusals.set(key, made);
    return made;
  }

  /** What every request is told while the shared count cannot be asked and the document says closed. */
  closed(isGrpc: boolean, policy: string): ProxyError {
    const known = isGrpc ? this.#closedToGrpc : this.#closedToHttp;
    if (known !== undefined) return known;
    const text = `${this.#text}: Redis cannot be asked, onUnavailable=closed`;
    const made = this.#made(text, closedWaitMs, isGrpc, policy);
    if (isGrpc) this.#closedToGrpc = made;
    else this.#closedToHttp = made;
    return made;
  }

  #made(text: string, waitMs: number, isGrpc: boolean, policy: string): ProxyError {
    const headers = ["ratelimit-policy", policy, "ratelimit", this.stateItem(0, waitMs)];
    if (this.#config.retryAfter) {
      if (isGrpc) headers.push("grpc-retry-pushback-ms", `${waitMs}`);
      else headers.push("retry-after", `${Math.ceil(waitMs / 1000)}`);
    }
    return new ProxyError("rate_limited", text, { headers, status: this.#config.status });
  }

  get #text(): string {
    const { name, requests, perMs, burst, keys, source } = this.#config;
    const each = keys.map((key) => (key.type === "header" ? key.name : "caller")).join(" and ");
    const rate = `${requests} requests per ${formatDuration(perMs)}${each === "" ? "" : ` for each ${each}`}`;
    return `limit ${name}: ${rate}, burst=${burst}, source=${source}`;
  }

  /** An sf-string (RFC 9651 §3.3.3): names are made of what documents may be called, never of quotes. */
  get #quoted(): string {
    return `"${this.#config.name}"`;
  }
}

/** The part of this process. A longer period rather than fewer requests: a small limit has no whole number of them. */
function sizeOf({ requests, perMs, burst, processes = 1 }: RateLimitConfig): BucketSize {
  return { requests, perMs: perMs * processes, burst: Math.max(1, burst / processes) };
}
