import { ProxyError } from "../errors/proxy-error.js";
import type { Layer, Reply } from "../stack/service.js";
import { endedCall } from "../stack/service.js";
import type { Counter, Gauge } from "../telemetry/cells.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";

export interface ConcurrencyLimitOptions {
  /** Whose limit it is, for the error text: `cluster api.default`. */
  readonly scope: string;
  /** >= 1. */
  readonly maxRequests: number;
  /** The document that set it, for the error text. */
  readonly source: string;
  /** Requests under way. It is the limit's own memory: hand in the same cell when a cluster is composed anew. */
  readonly active: Gauge;
  /** Requests turned away. */
  readonly rejected: Counter;
}

/** Bulkhead: at most `maxRequests` under way at once; one more ends with `concurrency_limit` without waiting. */
export function concurrencyLimit(options: ConcurrencyLimitOptions): Layer {
  const { active, rejected, maxRequests } = options;
  // One error for all: under overload, a stack trace for each request would add to the load.
  const refusal = new ProxyError(
    "concurrency_limit",
    `${options.scope}: ${maxRequests} of ${maxRequests} requests under way, limit=maxRequests, source=${options.source}`,
  );
  return (inner) => ({
    call(request, reply) {
      if (active.value >= maxRequests) {
        rejected.value++;
        reply.end(refusal);
        return endedCall;
      }
      active.value++;
      return inner.call(request, new CountedReply(reply, active));
    },
  });
}

class CountedReply implements Reply {
  readonly #reply: Reply;
  readonly #active: Gauge;

  constructor(reply: Reply, active: Gauge) {
    this.#reply = reply;
    this.#active = active;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#active.value--;
    this.#reply.end(error);
  }
}
