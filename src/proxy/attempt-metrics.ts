import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply } from "../stack/service.js";
import type { ClusterMetrics } from "../telemetry/cluster-metrics.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";

/** Counts what a cluster is sent and answers, attempt by attempt. */
export function attemptMetrics(cells: ClusterMetrics, clock: Clock): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      cells.requests.value++;
      return inner.call(request, new MeteredReply(cells, clock, reply));
    },
  });
}

class MeteredReply implements Reply {
  readonly #cells: ClusterMetrics;
  readonly #clock: Clock;
  readonly #reply: Reply;
  readonly #startMs: number;

  constructor(cells: ClusterMetrics, clock: Clock, reply: Reply) {
    this.#cells = cells;
    this.#clock = clock;
    this.#reply = reply;
    this.#startMs = clock.monotonicMs();
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#cells.response(head.status, this.#clock.monotonicMs() - this.#startMs);
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    if (error !== null && error.row.flag === "UT") this.#cells.timeouts.value++;
    this.#reply.end(error);
  }
}
