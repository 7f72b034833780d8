import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import { endedCall, type Call, type Layer, type Reply, type Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { Limiter } from "./limiter.js";
import { admit, type Admitted, judge, LimitedReply, policyOf, type Refusal } from "./rate-limit.js";
import type { SharedAnswer, SharedCounts } from "./shared-counts.js";
import type { Bucket } from "./token-buckets.js";

export interface SharedRateLimitOptions {
  readonly clock: Clock;
  /** undefined: this sidecar has none. */
  readonly counts: SharedCounts | undefined;
}

/**
 * As rateLimit, with limits that all instances count together. Asks the buckets of this process first, which cost nothing;
 * then Redis, once for all. Without its answer each limit does as its document says (onUnavailable).
 */
export function sharedRateLimit(limiters: readonly Limiter[], options: SharedRateLimitOptions): Layer {
  const rule: SharedRule = {
    ...options,
    policy: policyOf(limiters),
    own: limiters.filter(({ config }) => config.scope === "local"),
    shared: limiters.filter(({ config }) => config.scope === "global"),
  };
  return (inner) => ({
    call(request, reply) {
      const own = admit(rule.own, request, rule.clock.monotonicMs());
      if (!own.isAdmitted) {
        reply.end(own.by.refusal(own.waitMs, request.isGrpc, rule.policy));
        return endedCall;
      }
      return new SharedCall(rule, own, inner, request, reply).start();
    },
  });
}

interface SharedRule extends SharedRateLimitOptions {
  /** Value of RateLimit-Policy. */
  readonly policy: string;
  readonly own: readonly Limiter[];
  readonly shared: readonly Limiter[];
}

/** A request whose own limits have let it pass. */
class SharedCall implements Call {
  readonly #rule: SharedRule;
  readonly #own: Admitted;
  readonly #inner: Service;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  /** null while the answer is waited for. */
  #call: Call | null = null;

  constructor(rule: SharedRule, own: Admitted, inner: Service, request: RequestContext, reply: Reply) {
    this.#rule = rule;
    this.#own = own;
    this.#inner = inner;
    this.#request = request;
    this.#reply = reply;
  }

  start(): Call {
    const { counts, shared } = this.#rule;
    if (counts === undefined || !counts.isUp) {
      this.#withoutAnswer();
      return this.#call ?? endedCall;
    }
    const keys = shared.map((limiter) => limiter.keyOf(this.#request));
    counts.take(shared, keys).then(
      (answer) => this.#settle(() => this.#answered(answer)),
      () => this.#settle(() => this.#withoutAnswer()),
    );
    return this;
  }

  cancel(error: ProxyError): void {
    if (this.#call !== null) return this.#call.cancel(error);
    this.#call = endedCall;
    this.#reply.end(error);
  }

  /** Nobody above catches what is thrown out of a promise. */
  #settle(decide: () => void): void {
    if (this.#call !== null) return;
    try {
      decide();
    } catch (cause) {
      this.#call ??= endedCall;
      this.#reply.end(new ProxyError("internal", "unexpected failure, see the sidecar's log", { cause }));
    }
  }

  #answered({ tokens, waitsMs, isAdmitted }: SharedAnswer): void {
    const { shared } = this.#rule;
    const refusal = judge(
      shared,
      waitsMs.map((waitMs) => (isAdmitted ? 0 : waitMs)),
    );
    if (refusal !== undefined) return this.#refuse(this.#errorOf(refusal));
    this.#pass(shared.map((limiter, i) => limiter.stateItem(tokens[i] ?? 0, waitsMs[i] ?? 0)));
  }

  /** Each limit by its own rule: closed ones refuse, open ones do not count, the others count in this process. */
  #withoutAnswer(): void {
    const { shared, clock } = this.#rule;
    for (const { meters } of shared) meters.unavailable.value++;
    const closed = shared.find(({ config }) => config.onUnavailable === "closed");
    const { policy } = this.#rule;
    if (closed !== undefined) return this.#refuse(closed.closed(this.#request.isGrpc, policy));
    const counted = shared.filter(({ config }) => config.onUnavailable === "local");
    const admission = admit(counted, this.#request, clock.monotonicMs());
    if (admission.isAdmitted) this.#pass(admission.states);
    else this.#refuse(this.#errorOf(admission));
  }

  #pass(states: readonly string[]): void {
    const all = [...this.#own.states, ...states].join(", ");
    this.#call = this.#inner.call(this.#request, new LimitedReply(this.#reply, this.#rule.policy, all));
  }

  #errorOf({ by, waitMs }: Refusal): ProxyError {
    return by.refusal(waitMs, this.#request.isGrpc, this.#rule.policy);
  }

  #refuse(error: ProxyError): void {
    this.#rule.own.forEach(({ buckets }, i) => buckets.giveBack(this.#own.buckets[i] as Bucket));
    this.#call = endedCall;
    this.#reply.end(error);
  }
}
