import type { Socket } from "node:net";
import type { Service } from "../stack/service.js";
import { TcpServerConnection } from "../tcp/tcp-server-connection.js";
import type { Clock } from "../time/clock.js";

/** The open connections of raw TCP of a listener. */
export class TcpConnections {
  readonly #clock: Clock;
  readonly #open = new Set<TcpServerConnection>();
  #isDestroyed = false;
  #onEmpty: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Takes over a connection whose peer was verified. */
  add(socket: Socket, peerId: string | undefined, service: Service): void {
    // A handshake that was under way.
    if (this.#isDestroyed) return void socket.destroy();
    const connection = new TcpServerConnection(socket, {
      service,
      clock: this.#clock,
      peerId,
      onClose: (closed) => {
        this.#open.delete(closed);
        if (this.#open.size > 0) return;
        for (const resolve of this.#onEmpty.splice(0)) resolve();
      },
    });
    this.#open.add(connection);
    connection.start();
  }

  /** Resolves when none is left. Connections of raw TCP cannot be told to end: they are waited for. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#open.size === 0) return resolve();
      this.#onEmpty.push(resolve);
    });
  }

  /** Resets all now, and closes whatever is added later. */
  destroy(): void {
    this.#isDestroyed = true;
    for (const connection of [...this.#open]) connection.destroy();
  }
}
