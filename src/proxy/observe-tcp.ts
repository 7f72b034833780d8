import type { ErrorCode } from "../errors/error-table.js";
import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { AccessLog } from "../telemetry/access-log.js";
import type { Counter } from "../telemetry/cells.js";
import type { TcpMetrics } from "../telemetry/tcp-metrics.js";
import type { Clock } from "../time/clock.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import { accessLogEntry } from "./access-entry.js";
import { flagsOf } from "./observe.js";

export interface ObserveTcpOptions {
  readonly clock: Clock;
  readonly metrics: (request: RequestContext) => TcpMetrics;
  readonly errorCounter: (code: ErrorCode) => Counter;
  readonly accessLog: AccessLog | undefined;
  /** A connection failed by a mistake of ours. */
  readonly onDefect: (cause: unknown) => void;
}

/** Outermost for raw TCP: counts connections and their bytes, and logs each connection when it is over. */
export class TcpObserver {
  readonly options: ObserveTcpOptions;
  readonly #open = new Set<ObservedTunnel>();

  constructor(options: ObserveTcpOptions) {
    this.options = options;
  }

  readonly layer: Layer = (inner: Service) => ({
    call: (request: RequestContext, reply: Reply): Call => {
      const observed = new ObservedTunnel(this.options, request, reply, () => this.#open.delete(observed));
      this.#open.add(observed);
      return inner.call(request, observed);
    },
  });

  /** Counts what open connections have carried so far: they may stay open for days. Before each scrape. */
  settle(): void {
    for (const observed of this.#open) observed.settle();
  }
}

class ObservedTunnel implements Reply {
  readonly #options: ObserveTcpOptions;
  readonly #request: RequestContext;
  readonly #reply: Reply;
  readonly #metrics: TcpMetrics;
  readonly #onEnd: () => void;
  #received = 0;
  #sent = 0;
  #openedMs = -1;

  constructor(options: ObserveTcpOptions, request: RequestContext, reply: Reply, onEnd: () => void) {
    this.#options = options;
    this.#request = request;
    this.#reply = reply;
    this.#onEnd = onEnd;
    this.#metrics = options.metrics(request);
    this.#metrics.opened.value++;
  }

  settle(): void {
    const { requestBytes, responseBytes } = this.#request;
    this.#metrics.received.value += requestBytes - this.#received;
    this.#metrics.sent.value += responseBytes - this.#sent;
    this.#received = requestBytes;
    this.#sent = responseBytes;
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.#openedMs = this.#options.clock.monotonicMs();
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    const { clock, errorCounter, accessLog, onDefect } = this.#options;
    const request = this.#request;
    const flag = flagsOf(error, request.flag);
    this.#onEnd();
    this.settle();
    this.#metrics.closed(flag);
    if (error !== null) {
      errorCounter(error.code).value++;
      if (error.code === "internal") onDefect(error.cause ?? error);
    }
    const nowMs = clock.monotonicMs();
    const durationMs = nowMs - request.startMs;
    accessLog?.write(
      accessLogEntry(
        request,
        { target: "", authority: "" },
        {
          status: 0,
          grpcStatus: -1,
          flag,
          durationMs,
          upstreamMs: this.#openedMs < 0 ? -1 : this.#openedMs - request.startMs,
          startWallMs: clock.wallMs() - durationMs,
          problem: error,
        },
      ),
    );
    this.#reply.end(error);
  }
}
