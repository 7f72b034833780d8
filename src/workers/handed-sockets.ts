import type { Socket } from "node:net";
import type { Listen } from "../proxy/listener.js";

/** A worker's listeners: the primary accepts for them and hands over the sockets. */
export class HandedSockets {
  /** Key: address:port. */
  readonly #listeners = new Map<string, (socket: Socket) => void>();
  readonly #onClosed: (counts: ReadonlyMap<string, number>) => void;
  /** Closed since it was last told. Key: address:port. */
  #closed = new Map<string, number>();

  /** `onClosed` hears of closed connections once per turn of the event loop. */
  constructor(onClosed: (counts: ReadonlyMap<string, number>) => void) {
    this.#onClosed = onClosed;
  }

  readonly listen: Listen = ({ address, port, onSocket }) => {
    const at = `${address}:${port}`;
    this.#listeners.set(at, onSocket);
    return Promise.resolve({ port, close: () => void this.#listeners.delete(at) });
  };

  /** `socket` is undefined when its peer closed it on the way. */
  take(at: string, socket: Socket | undefined, allowsHalfOpen: boolean): void {
    const onSocket = this.#listeners.get(at);
    if (socket === undefined || onSocket === undefined) {
      socket?.on("error", () => undefined).destroy();
      return this.#count(at);
    }
    // What travels between processes is the descriptor; this is no part of it.
    socket.allowHalfOpen = allowsHalfOpen;
    socket.once("close", () => this.#count(at));
    onSocket(socket);
  }

  #count(at: string): void {
    if (this.#closed.size === 0)
      setImmediate(() => {
        const counts = this.#closed;
        this.#closed = new Map();
        this.#onClosed(counts);
      });
    this.#closed.set(at, (this.#closed.get(at) ?? 0) + 1);
  }
}
