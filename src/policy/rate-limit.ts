import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Layer, type Reply } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import type { Limiter } from "./limiter.js";
import type { Bucket } from "./token-buckets.js";

/**
 * Lets a request pass when every limit has a token for it, and takes the tokens only then. Tells callers what is left
 * (draft-ietf-httpapi-ratelimit-headers).
 */
export function rateLimit(limiters: readonly Limiter[], clock: Clock): Layer {
  const policy = limiters.map((limiter) => limiter.policyItem).join(", ");
  return (inner) => ({
    call(request, reply) {
      const admission = admit(limiters, request, clock.monotonicMs());
      if (admission.isAdmitted) return inner.call(request, new LimitedReply(reply, policy, admission.state));
      const { by, waitMs } = admission;
      reply.end(by.refusal(waitMs, request.isGrpc, policy));
      return endedCall;
    },
  });
}

export type Admission =
  /** `state`: value of RateLimit. */
  | { readonly isAdmitted: true; readonly state: string }
  /** Of several limits without a token, the one whose token comes last. */
  | { readonly isAdmitted: false; readonly by: Limiter; readonly waitMs: number };

/** Asks the buckets of this process, and takes a token of each when all have one. */
export function admit(limiters: readonly Limiter[], request: RequestContext, nowMs: number): Admission {
  const found: Bucket[] = [];
  let by: Limiter | undefined;
  let longestMs = 0;
  for (const limiter of limiters) {
    const bucket = limiter.buckets.at(limiter.keyOf(request), nowMs);
    found.push(bucket);
    const waitMs = limiter.buckets.waitMs(bucket);
    if (waitMs === 0) continue;
    limiter.meters.limited.value++;
    if (waitMs <= longestMs) continue;
    longestMs = waitMs;
    by = limiter;
  }
  if (by !== undefined) return { isAdmitted: false, by, waitMs: longestMs };
  let state = "";
  limiters.forEach((limiter, i) => {
    const bucket = found[i] as Bucket;
    limiter.buckets.take(bucket);
    limiter.meters.admitted.value++;
    const item = limiter.stateItem(bucket.tokens, limiter.buckets.waitMs(bucket));
    state = state === "" ? item : `${state}, ${item}`;
  });
  return { isAdmitted: true, state };
}

/** Adds to the head what the caller may know of its limits. */
export class LimitedReply implements Reply {
  readonly #reply: Reply;
  readonly #policy: string;
  readonly #state: string;

  constructor(reply: Reply, policy: string, state: string) {
    this.#reply = reply;
    this.#policy = policy;
    this.#state = state;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    head.headers.push("ratelimit-policy", this.#policy, "ratelimit", this.#state);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}
