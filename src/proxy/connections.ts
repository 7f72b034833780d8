import type { Socket } from "node:net";
import type { ProxyError } from "../errors/proxy-error.js";
import { http1Limits } from "../http1/limits.js";
import { Http1ServerConnection } from "../http1/server-connection.js";
import { serverTimeouts, type ServerTimeouts } from "../stack/server-timeouts.js";
import type { Service } from "../stack/service.js";
import type { ListenerMetrics } from "../telemetry/listener-metrics.js";
import type { Clock } from "../time/clock.js";
import type { TimerWheel } from "../time/timer-wheel.js";
import { errorReply } from "./local-reply.js";

export interface ConnectionsOptions {
  readonly service: Service;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly timeouts?: ServerTimeouts;
  readonly listener: Pick<ListenerMetrics, "connections" | "connectionsActive">;
  /** A request that could not be read: it never reaches the service, so it is counted here. */
  readonly onRefused: (error: ProxyError) => void;
}

/** The open connections of a listener. */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #open = new Set<Http1ServerConnection>();
  #isDraining = false;
  #isDestroyed = false;
  #onEmpty: (() => void)[] = [];

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Takes over a connection whose peer was verified. */
  add(socket: Socket, peerId: string | undefined): void {
    // A handshake that was under way: its request could not be answered any more.
    if (this.#isDestroyed) return void socket.destroy();
    const { service, clock, wheel, timeouts = serverTimeouts, onRefused, listener } = this.#options;
    const connection = new Http1ServerConnection(socket, {
      service,
      clock,
      wheel,
      timeouts,
      limits: http1Limits,
      peerId,
      refuse: (error) => {
        onRefused(error);
        return errorReply(error);
      },
      onClose: (closed) => {
        this.#open.delete(closed);
        listener.connectionsActive.value--;
        if (this.#open.size > 0) return;
        for (const resolve of this.#onEmpty.splice(0)) resolve();
      },
    });
    this.#open.add(connection);
    listener.connections.value++;
    listener.connectionsActive.value++;
    if (this.#isDraining) connection.isDraining = true;
  }

  /**
   * Each connection ends with its present request, one that is added later after its first; resolves when none is left.
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
}
