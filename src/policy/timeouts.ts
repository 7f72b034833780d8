import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import { formatDuration } from "../time/duration.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";

export interface TimeoutOptions {
  /** > 0. Without a timeout the layer is not composed at all. */
  readonly timeoutMs: number;
  /** The document that set it, for the error text. */
  readonly source: string;
  readonly wheel: TimerWheel;
}

/** Caps the whole request, retries included, until the response is complete. Stands outside of retry. */
export function routeTimeout(options: TimeoutOptions): Layer {
  return (inner) => new Timeout("route", options, inner);
}

/** Caps each attempt until its response is complete. Stands inside of retry, so that each attempt has its own. */
export function attemptTimeout(options: TimeoutOptions): Layer {
  return (inner) => new Timeout("attempt", options, inner);
}

class Timeout implements Service {
  readonly wheel: TimerWheel;
  readonly timeoutMs: number;
  readonly inner: Service;
  readonly #timer: "route" | "attempt";
  readonly #source: string;

  constructor(timer: "route" | "attempt", options: TimeoutOptions, inner: Service) {
    this.wheel = options.wheel;
    this.timeoutMs = options.timeoutMs;
    this.inner = inner;
    this.#timer = timer;
    this.#source = options.source;
  }

  call(request: RequestContext, reply: Reply): Call {
    return new TimedCall(this, reply).start(request);
  }

  error(): ProxyError {
    const value = formatDuration(this.timeoutMs);
    return new ProxyError(
      `${this.#timer}_timeout`,
      `timer=${this.#timer}, value=${value}, source=${this.#source}`,
    );
  }
}

class TimedCall implements Reply, Call, TimerTarget {
  readonly #layer: Timeout;
  readonly #reply: Reply;
  readonly #timer: WheelTimer;
  #inner: Call | null = null;

  constructor(layer: Timeout, reply: Reply) {
    this.#layer = layer;
    this.#reply = reply;
    this.#timer = layer.wheel.add(layer.timeoutMs, this);
  }

  start(request: RequestContext): this {
    this.#inner = this.#layer.inner.call(request, this);
    return this;
  }

  onTimer(): void {
    this.cancel(this.#layer.error());
  }

  cancel(error: ProxyError): void {
    // Never null here: neither the timer nor a caller has a hold of this before start() has returned.
    this.#inner?.cancel(error);
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    // A tunnel (WebSocket) lives for as long as its ends like.
    if (head.status === 101) this.#timer.cancel();
    this.#reply.head(head, body);
  }

  end(error: ProxyError | null): void {
    this.#timer.cancel();
    this.#reply.end(error);
  }
}
