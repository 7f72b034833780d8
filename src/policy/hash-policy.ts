import type { HashPolicy, HashSource } from "../config/load-balancer-config.js";
import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Layer, Reply } from "../stack/service.js";
import { xxHash64, type Hash64 } from "../stack/xx-hash64.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import { cookieValue } from "../traffic/cookie.js";
import { nameIs } from "../traffic/headers.js";
import type { ResponseHead } from "../traffic/message.js";
import { pathEndOf } from "../traffic/path.js";
import { queryParameter } from "../traffic/query.js";

type CookieSource = Extract<HashSource, { type: "cookie" }>;

/**
 * Gives each request the key that keeps it, and all others of the same key, at one endpoint; and gives a client that has no
 * cookie yet, where one is asked for, a cookie that will. The key is Envoy's: XXH64 of each part, combined in order.
 * Source: Envoy source/common/http/hash_policy.cc.
 *
 * @param identity SPIFFE id of the local application, for what it sends on its own account.
 */
export function hashPolicy(
  parts: readonly HashPolicy[],
  clock: Pick<Clock, "random">,
  identity: string,
): Layer {
  return (inner) => ({
    call(request, reply) {
      let key: Hash64 | undefined;
      let cookies: string[] | undefined;
      for (const part of parts) {
        let hash = hashOf(part, request, identity);
        if (hash === undefined && part.type === "cookie" && part.ttlMs !== undefined) {
          const value = newCookieValue(clock);
          hash = xxHash64(value);
          (cookies ??= []).push(setCookie(part, value, part.ttlMs));
        }
        if (hash !== undefined) key = key === undefined ? hash : combined(key, hash);
        if (part.isTerminal && key !== undefined) break;
      }
      request.balanceKey = key;
      return inner.call(request, cookies === undefined ? reply : new CookieReply(reply, cookies));
    },
  });
}

/** undefined: the request does not have it. */
function hashOf(source: HashSource, { head, origin }: RequestContext, identity: string): Hash64 | undefined {
  switch (source.type) {
    case "header":
      return hashOfHeader(head.headers, source.name);
    case "cookie": {
      const value = cookieValue(head.headers, source.name);
      return value === undefined ? undefined : xxHash64(value);
    }
    case "sourceIdentity":
      return xxHash64(origin?.callerId ?? identity);
    case "sourceIP": {
      // The application's own address is that of its machine's loopback: it would tell nobody apart.
      const address = origin?.callerAddress;
      return address === undefined ? undefined : xxHash64(address);
    }
    case "query": {
      const value = queryParameter(head.target, pathEndOf(head.target), source.name);
      return value === undefined ? undefined : xxHash64(Buffer.from(value, "utf8").toString("latin1"));
    }
  }
}

/** Of several fields of one name the order does not matter. */
function hashOfHeader(headers: readonly string[], lower: string): Hash64 | undefined {
  let first: string | undefined;
  let values: string[] | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!nameIs(headers[i] as string, lower)) continue;
    const value = headers[i + 1] as string;
    if (first === undefined) first = value;
    else (values ??= [first]).push(value);
  }
  if (values === undefined) return first === undefined ? undefined : xxHash64(first);
  return values.sort().reduce((seed: Hash64, value) => xxHash64(value, seed), { hi: 0, lo: 0 });
}

/** The former key turned by one bit, so that two equal parts do not cancel each other out. */
function combined({ hi, lo }: Hash64, part: Hash64): Hash64 {
  return {
    hi: (((hi << 1) | (lo >>> 31)) ^ part.hi) >>> 0,
    lo: (((lo << 1) | (hi >>> 31)) ^ part.lo) >>> 0,
  };
}

/** 16 hexadecimal digits that mean nothing: where the key leads is known to the sidecar alone. */
function newCookieValue(clock: Pick<Clock, "random">): string {
  const half = (): string =>
    Math.floor(clock.random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  return half() + half();
}

/** RFC 6265 §4.1. Out of the reach of scripts, which have no use for it. */
function setCookie({ name, path }: CookieSource, value: string, ttlMs: number): string {
  const maxAge = ttlMs === 0 ? "" : `; Max-Age=${Math.ceil(ttlMs / 1000)}`;
  return `${name}=${value}${maxAge}; Path=${path}; HttpOnly`;
}

class CookieReply implements Reply {
  readonly #reply: Reply;
  readonly #cookies: readonly string[];

  constructor(reply: Reply, cookies: readonly string[]) {
    this.#reply = reply;
    this.#cookies = cookies;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    for (const cookie of this.#cookies) head.headers.push("set-cookie", cookie);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}
