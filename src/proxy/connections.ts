import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ProxyError } from "../errors/proxy-error.js";
import { http1Limits } from "../http1/limits.js";
import { Http1ServerConnection } from "../http1/server-connection.js";
import { peerHash } from "../identity/verify-peer.js";
import { http2Limits, meshHttp2Limits, type LimitMeter } from "../http2/limits.js";
import { Http2ServerConnection } from "../http2/server-connection.js";
import { serverTimeouts, type ServerTimeouts } from "../stack/server-timeouts.js";
import type { Service } from "../stack/service.js";
import type { ListenerConnectionMetrics } from "../telemetry/listener-metrics.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import type { LocalReply } from "../traffic/message.js";
import { choseHttp2 } from "./foreign-peers.js";
import { errorReply } from "./local-reply.js";
import { UndetectedConnection, type HttpProtocol } from "./protocol-detection.js";
import type { ServerConnection } from "./server-connection.js";

export interface ConnectionsOptions {
  readonly service: Service;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly timeouts?: ServerTimeouts;
  readonly listener: ListenerConnectionMetrics;
  /** A TLS peer whose handshake does not tell what it speaks. */
  readonly isForeign?: (socket: Socket) => boolean;
  /** A request that could not be read: it never reaches the service, so it is counted here. */
  readonly onRefused: (error: ProxyError) => void;
  /** Told each time a client hits a bound of HTTP/2. */
  readonly onLimit: LimitMeter;
}

/** The open connections of a listener. TLS peers have chosen their protocol in the handshake; others show it. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #timeouts: ServerTimeouts;
  readonly #open = new Set<ServerConnection>();
  #isDraining = false;
  #isDestroyed = false;
  #onEmpty: (() => void)[] = [];

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#timeouts = options.timeouts ?? serverTimeouts;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Takes over a connection whose peer was verified. Returns how it alone is drained, once its protocol is known. */
  add(socket: Socket, peerId: string | undefined): (() => void) | undefined {
    // A handshake that was under way: its request could not be answered any more.
    if (this.#isDestroyed) {
      socket.destroy();
      return undefined;
    }
    const { listener, isForeign } = this.#options;
    listener.connections.value++;
    listener.connectionsActive.value++;
    const { alpnProtocol } = socket as TLSSocket;
    if (alpnProtocol !== undefined && isForeign?.(socket) !== true)
      return this.#serve(socket, choseHttp2(socket) ? "http2" : "http1", peerId, peerId !== undefined);
    this.#detect(socket, peerId);
    return undefined;
  }

  /**
   * Each connection ends with its present requests, one that is added later after its first; resolves when none is left.
   * Idempotent.
   */
  drain(): Promise<void> {
    if (!this.#isDraining) for (const connection of [...this.#open]) connection.drain();
    this.#isDraining = true;
    return new Promise((resolve) => {
      if (this.#open.size === 0) return resolve();
      this.#onEmpty.push(resolve);
    });
  }

  /** Closes all now, and whatever is added later. */
  destroy(): void {
    this.#isDestroyed = true;
    for (const connection of [...this.#open]) connection.destroy();
  }

  #detect(socket: Socket, peerId: string | undefined): void {
    const { wheel } = this.#options;
    const undetected = new UndetectedConnection(socket, {
      wheel,
      timeouts: this.#timeouts,
      onDetected: (protocol, received) => {
        this.#serve(socket, protocol, peerId, false);
        this.#open.delete(undetected);
        socket.unshift(received);
      },
      onClose: (closed) => this.#closed(closed),
    });
    this.#open.add(undetected);
  }

  /** @param isMesh a sidecar of ours, with whom more is agreed than HTTP says. */
  #serve(socket: Socket, protocol: HttpProtocol, peerId: string | undefined, isMesh: boolean): () => void {
    const { service, clock, wheel, onRefused, onLimit, listener } = this.#options;
    const common = {
      service,
      clock,
      wheel,
      timeouts: this.#timeouts,
      peerId,
      // Once for all requests of the connection.
      peerHash: peerId === undefined ? "" : peerHash(socket as TLSSocket),
      refuse: (error: ProxyError): LocalReply | null => {
        onRefused(error);
        return errorReply(error);
      },
      onClose: (closed: ServerConnection) => this.#closed(closed),
    };
    if (protocol === "http1") {
      const connection = new Http1ServerConnection(socket, { ...common, limits: http1Limits });
      listener.http1Connections.value++;
      this.#open.add(connection);
      connection.isDraining = this.#isDraining;
      return () => connection.drain();
    }
    const connection = new Http2ServerConnection(socket, {
      ...common,
      limits: isMesh ? meshHttp2Limits : http2Limits,
      isMesh,
      onLimit,
    });
    listener.http2Connections.value++;
    this.#open.add(connection);
    if (this.#isDraining) connection.drain();
    return () => connection.drain();
  }

  #closed(connection: ServerConnection): void {
    if (!this.#open.delete(connection)) return;
    this.#options.listener.connectionsActive.value--;
    if (this.#open.size > 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }
}
