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
 * (draft-ietf-httpapi-ratelimit-headers). All limits count in this process.
 */
export function rateLimit(limiters: readonly Limiter[], clock: Clock): Layer {
  const policy = policyOf(limiters);
  return (inner) => ({
    call(request, reply) {
      const admission = admit(limiters, request, clock.monotonicMs());
      if (admission.isAdmitted) {
        return inner.call(request, new LimitedReply(reply, policy, admission.states.join(", ")));
      }
      const { by, waitMs } = admission;
      reply.end(by.refusal(waitMs, request.isGrpc, policy));
      return endedCall;
    },
  });
}

/** Value of RateLimit-Policy. */
export function policyOf(limiters: readonly Limiter[]): string {
  return limiters.map((limiter) => limiter.policyItem).join(", ");
}

export type Admission = Admitted | Refusal;

export interface Admitted {
  readonly isAdmitted: true;
  /** Items of RateLimit. */
  readonly states: readonly string[];
  /** What was taken from, for whoever refuses the request after all. */
  readonly buckets: readonly Bucket[];
}

/** Of several limits without a token, the one whose token comes last. */
export interface Refusal {
  readonly isAdmitted: false;
  readonly by: Limiter;
  readonly waitMs: number;
}

/** Asks the buckets of this process, and takes a token of each when all have one. */
export function admit(limiters: readonly Limiter[], request: RequestContext, nowMs: number): Admission {
  const buckets = limiters.map((limiter) => limiter.buckets.at(limiter.keyOf(request), nowMs));
  const refusal = judge(
    limiters,
    limiters.map((limiter, i) => limiter.buckets.waitMs(buckets[i] as Bucket)),
  );
  if (refusal !== undefined) return refusal;
  const states = limiters.map((limiter, i) => {
    const bucket = buckets[i] as Bucket;
    limiter.buckets.take(bucket);
    return limiter.stateItem(bucket.tokens, limiter.buckets.waitMs(bucket));
  });
  return { isAdmitted: true, states, buckets };
}

/** Counts what each limit says; undefined when all have a token. @param waitsMs in the order of the limits. */
export function judge(limiters: readonly Limiter[], waitsMs: readonly number[]): Refusal | undefined {
  let longest = -1;
  waitsMs.forEach((waitMs, i) => {
    if (waitMs === 0) return;
    (limiters[i] as Limiter).meters.limited.value++;
    if (longest < 0 || waitMs > (waitsMs[longest] as number)) longest = i;
  });
  const by = limiters[longest];
  if (by !== undefined) return { isAdmitted: false, by, waitMs: waitsMs[longest] as number };
  for (const { meters } of limiters) meters.admitted.value++;
  return undefined;
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
    head.headers.push("ratelimit-policy", this.#policy);
    if (this.#state !== "") head.headers.push("ratelimit", this.#state);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#reply.end(error);
  }
}
