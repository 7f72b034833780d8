import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import { formatDuration } from "../time/duration.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { TimedCall, type TimeLimit } from "./timed-call.js";

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

class Timeout implements Service, TimeLimit {
  readonly #options: TimeoutOptions;
  readonly #timer: "route" | "attempt";
  readonly #inner: Service;

  constructor(timer: "route" | "attempt", options: TimeoutOptions, inner: Service) {
    this.#timer = timer;
    this.#options = options;
    this.#inner = inner;
  }

  call(request: RequestContext, reply: Reply): Call {
    const { timeoutMs, wheel } = this.#options;
    if (this.#timer === "attempt") request.attemptTimeoutMs = timeoutMs;
    else request.deadlineMs = Math.min(request.deadlineMs, request.startMs + request.heldMs + timeoutMs);
    return new TimedCall(this, timeoutMs, wheel, reply).start(this.#inner, request);
  }

  error(): ProxyError {
    const { timeoutMs, source } = this.#options;
    const value = formatDuration(timeoutMs);
    return new ProxyError(`${this.#timer}_timeout`, `timer=${this.#timer}, value=${value}, source=${source}`);
  }
}
