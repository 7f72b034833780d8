import type { StreamIdleConfig } from "../config/stream-idle-config.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import { formatDuration } from "../time/duration.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import { WatchedBody, type BodyWatcher } from "./watched-body.js";

export interface StreamIdleOptions {
  readonly idle: StreamIdleConfig;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
}

/**
 * Ends requests in which nothing moves any more, bodies and gRPC streams included, with `stream_idle_timeout`; waiting for
 * the response is silence, too. Takes the place of the limit that the server connection has. Tunnels pass by: they have a
 * timer of their own (tunnel-idle.ts).
 * Source: Envoy stream_idle_timeout.
 */
export function streamIdle(options: StreamIdleOptions): Layer {
  return (inner) => ({
    call(request: RequestContext, reply: Reply): Call {
      if (request.head.upgrade !== "") return inner.call(request, reply);
      request.hasOwnIdle = true;
      if (options.idle.idleMs === 0) return inner.call(request, reply);
      return new WatchedExchange(options, reply).start(inner, request);
    },
  });
}

class WatchedExchange implements Reply, Call, TimerTarget, BodyWatcher {
  readonly #idle: StreamIdleConfig;
  readonly #reply: Reply;
  readonly #clock: Clock;
  readonly #timer: WheelTimer;
  #inner: Call | null = null;
  #activeAtMs: number;

  constructor({ idle, wheel, clock }: StreamIdleOptions, reply: Reply) {
    this.#idle = idle;
    this.#reply = reply;
    this.#clock = clock;
    this.#activeAtMs = clock.monotonicMs();
    this.#timer = wheel.add(idle.idleMs, this);
  }

  start(inner: Service, request: RequestContext): this {
    if (request.body !== null) request.body = new WatchedBody(request.body, this);
    this.#inner = inner.call(request, this);
    return this;
  }

  touch(): void {
    this.#activeAtMs = this.#clock.monotonicMs();
  }

  onTimer(): void {
    const { idleMs, source } = this.#idle;
    const leftMs = this.#activeAtMs + idleMs - this.#clock.monotonicMs();
    if (leftMs > 0) return this.#timer.restart(leftMs);
    const text = `timer=stream_idle, value=${formatDuration(idleMs)}, source=${source}`;
    this.cancel(new ProxyError("stream_idle_timeout", text));
  }

  cancel(error: ProxyError): void {
    // Never null here: neither the timer nor a caller has a hold of this before start() has returned.
    this.#inner?.cancel(error);
  }

  informational(head: ResponseHead): void {
    this.touch();
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    this.touch();
    this.#reply.head(head, body === null ? null : new WatchedBody(body, this));
  }

  end(error: ProxyError | null): void {
    this.#timer.cancel();
    this.#reply.end(error);
  }
}
