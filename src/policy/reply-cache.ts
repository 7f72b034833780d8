import type { ReplyCacheConfig } from "../config/fallback-config.js";
import type { RequestContext } from "../stack/request-context.js";
import { BufferedBody, type BodySource } from "../traffic/body.js";
import { getHeader, nameIs, removeHeader, setHeader, type Headers } from "../traffic/headers.js";
import type { RequestHead, ResponseHead } from "../traffic/message.js";
import { CopiedBody } from "./copied-body.js";

/** What an entry takes besides its texts and bytes. */
const entryOverheadBytes = 500;

interface Entry {
  readonly status: number;
  readonly reason: string;
  readonly headers: Headers;
  readonly body: Buffer;
  /** [name in lower case, value of the request or undefined] of the fields that Vary names. */
  readonly vary: readonly (readonly [string, string | undefined])[];
  readonly storedAtMs: number;
  /** Seconds that it was old when it came. */
  readonly ageS: number;
  readonly bytes: number;
}

/** An answer that was kept. */
export interface KeptReply {
  readonly head: ResponseHead;
  readonly body: BodySource | null;
}

/**
 * The last good answers to GET requests, to be given when the service cannot: one for each target and host, the least recently
 * used go first. Not kept: what only one caller may see, and what its sender does not want to be stored or shown stale
 * (RFC 9111 §3, §4.2.4). Copies that are being made count too, so memory is at most twice `maxBytes`.
 */
export class ReplyCache {
  #config: ReplyCacheConfig;
  /** Key: scope, host and target; least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #copyingBytes = 0;

  constructor(config: ReplyCacheConfig) {
    this.#config = config;
  }

  /** Takes other bounds; what still fits stays. */
  configure(config: ReplyCacheConfig): void {
    this.#config = config;
    this.#shrink();
  }

  get entries(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The answer to a GET or HEAD, unless it is too old or was given to other request headers. */
  find(scope: string, { head }: RequestContext, nowMs: number): KeptReply | undefined {
    if (head.method !== "GET" && head.method !== "HEAD") return undefined;
    const key = keyOf(scope, head);
    const entry = this.#entries.get(key);
    if (entry === undefined || isPersonal(head)) return undefined;
    if (nowMs - entry.storedAtMs > this.#config.maxAgeMs) {
      this.#remove(key, entry);
      return undefined;
    }
    if (entry.vary.some(([name, value]) => getHeader(head.headers, name) !== value)) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const headers = [...entry.headers];
    const ageS = entry.ageS + Math.floor((nowMs - entry.storedAtMs) / 1000);
    setHeader(headers, "age", `${ageS}`);
    setHeader(headers, "content-length", `${entry.body.length}`);
    const { status, reason } = entry;
    return {
      head: { status, reason, version: "1.1", headers },
      body: head.method === "HEAD" || entry.body.length === 0 ? null : new BufferedBody(entry.body),
    };
  }

  /**
   * A response on its way to the caller: the body to send on, which is copied as it flows and kept once it is complete.
   * What may not be kept takes the place of nothing.
   */
  record(
    scope: string,
    request: RequestHead,
    head: ResponseHead,
    body: BodySource | null,
    now: () => number,
  ): BodySource | null {
    if (request.method !== "GET" || head.status !== 200 || isPersonal(request)) return body;
    const vary = varyOf(head.headers, request);
    if (vary === undefined || !mayBeKept(head.headers)) return body;
    const key = keyOf(scope, request);
    const { status, reason } = head;
    const headers = [...head.headers];
    const ageS = Math.max(0, Number.parseInt(getHeader(headers, "age") ?? "0", 10) || 0);
    removeHeader(headers, "x-remora-fallback");
    const store = (bytes: Buffer): void => {
      this.#store(key, {
        ...{ status, reason, headers, vary, ageS, body: bytes, storedAtMs: now() },
        bytes: entryOverheadBytes + key.length + headers.join("").length + bytes.length,
      });
    };
    if (body === null) {
      store(Buffer.alloc(0));
      return null;
    }
    if (body.length > this.#config.maxBytes) return body;
    return new CopiedBody(body, {
      take: (count) => {
        if (this.#copyingBytes + count > this.#config.maxBytes) return false;
        this.#copyingBytes += count;
        return true;
      },
      giveBack: (count) => void (this.#copyingBytes -= count),
      done: store,
    });
  }

  #store(key: string, entry: Entry): void {
    const before = this.#entries.get(key);
    if (before !== undefined) this.#remove(key, before);
    if (entry.bytes > this.#config.maxBytes) return;
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
    this.#shrink();
  }

  #shrink(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= this.#config.maxBytes && this.#entries.size <= this.#config.maxEntries) return;
      this.#remove(key, entry);
    }
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

/** Neither a host nor a canonical target has a space in it. */
function keyOf(scope: string, { authority, target }: RequestHead): string {
  return `${authority} ${target} ${scope}`;
}

/** Answers to these are for one caller, or for a part of the whole (RFC 9111 §3.5, RFC 9110 §14.2). */
function isPersonal({ headers }: RequestHead): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (nameIs(name, "authorization") || nameIs(name, "cookie") || nameIs(name, "range")) return true;
  }
  return false;
}

const forbidding =
  /(?:^|[\s,])(?:private|no-store|no-cache|must-revalidate|proxy-revalidate|s-maxage)(?:[\s,=]|$)/i;

function mayBeKept(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (nameIs(name, "set-cookie")) return false;
    if (nameIs(name, "cache-control") && forbidding.test(headers[i + 1] as string)) return false;
  }
  return true;
}

/** The fields by which the answer was chosen, as the request has them; undefined: by something that no request tells. */
function varyOf(headers: readonly string[], request: RequestHead): Entry["vary"] | undefined {
  const names = new Set<string>();
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, "vary")) continue;
    for (const name of (headers[i + 1] as string).split(",")) names.add(name.trim().toLowerCase());
  }
  names.delete("");
  if (names.has("*")) return undefined;
  return [...names].map((name) => [name, getHeader(request.headers, name)] as const);
}
