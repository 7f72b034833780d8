import { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { Call, Layer, Reply, Service } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import { formatDuration } from "../time/duration.js";
import type { TimerTarget, TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { BodySource } from "../traffic/body.js";
import type { ResponseHead } from "../traffic/message.js";
import { WatchedBody, type BodyWatcher } from "./watched-body.js";

export interface TunnelIdleOptions {
  /** Longest silence in both directions together, milliseconds; 0 = no limit. */
  readonly idleMs: number;
  /** Waited beyond it: the other sidecar of a hop is to cut first. */
  readonly graceMs?: number;
  /** The document that set it, for the error text. */
  readonly source: string;
  readonly wheel: TimerWheel;
  readonly clock: Clock;
}

/**
 * Cuts tunnels (WebSocket, raw TCP) through which nothing passes any more with `stream_idle_timeout`. Ordinary requests pass by
 * untouched, as does a request for a tunnel until it is opened: for that the timeouts of requests are there.
 * Source: Envoy tcp_proxy idle_timeout.
 */
export function tunnelIdle(options: TunnelIdleOptions): Layer {
  return (inner) => (options.idleMs === 0 ? inner : new TunnelIdle(options, inner));
}

class TunnelIdle implements Service {
  readonly options: TunnelIdleOptions;
  readonly inner: Service;

  constructor(options: TunnelIdleOptions, inner: Service) {
    this.options = options;
    this.inner = inner;
  }

  call(request: RequestContext, reply: Reply): Call {
    if (request.head.upgrade === "") return this.inner.call(request, reply);
    return new WatchedTunnel(this, reply).start(request);
  }
}

class WatchedTunnel implements Reply, Call, TimerTarget, BodyWatcher {
  readonly #layer: TunnelIdle;
  readonly #reply: Reply;
  readonly #clock: Clock;
  #inner: Call | null = null;
  /** null before the tunnel is open. */
  #timer: WheelTimer | null = null;
  #activeAtMs = 0;

  constructor(layer: TunnelIdle, reply: Reply) {
    this.#layer = layer;
    this.#reply = reply;
    this.#clock = layer.options.clock;
  }

  start(request: RequestContext): this {
    if (request.body !== null) request.body = new WatchedBody(request.body, this);
    this.#inner = this.#layer.inner.call(request, this);
    return this;
  }

  /** Bytes pass, in either direction. */
  touch(): void {
    this.#activeAtMs = this.#clock.monotonicMs();
  }

  onTimer(): void {
    const { idleMs, graceMs = 0, source } = this.#layer.options;
    const leftMs = this.#activeAtMs + idleMs + graceMs - this.#clock.monotonicMs();
    if (leftMs > 0) return this.#timer?.restart(leftMs);
    const text = `timer=tunnel_idle, value=${formatDuration(idleMs)}, source=${source}`;
    this.cancel(new ProxyError("stream_idle_timeout", text));
  }

  cancel(error: ProxyError): void {
    // Never null here: neither the timer nor a caller has a hold of this before start() has returned.
    this.#inner?.cancel(error);
  }

  informational(head: ResponseHead): void {
    this.#reply.informational(head);
  }

  head(head: ResponseHead, body: BodySource | null): void {
    if (head.status !== 101 || body === null) return this.#reply.head(head, body);
    const { wheel, idleMs, graceMs = 0 } = this.#layer.options;
    this.touch();
    this.#timer = wheel.add(idleMs + graceMs, this);
    this.#reply.head(head, new WatchedBody(body, this));
  }

  end(error: ProxyError | null): void {
    this.#timer?.cancel();
    this.#reply.end(error);
  }
}
