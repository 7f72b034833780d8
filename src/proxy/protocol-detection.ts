import type { Socket } from "node:net";
import type { ServerTimeouts } from "../stack/server-timeouts.js";
import type { TimerWheel, WheelTimer } from "../time/timer-wheel.js";
import type { ServerConnection } from "./server-connection.js";

export type HttpProtocol = "http1" | "http2";

/** RFC 9113 §3.4: a client with prior knowledge begins with it. No request of HTTP/1.1 does. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** What a client speaks whose connection began with these bytes; undefined: cannot be told yet. */
export function detectProtocol(received: Buffer): HttpProtocol | undefined {
  const count = Math.min(received.length, preface.length);
  if (preface.compare(received, 0, count, 0, count) !== 0) return "http1";
  return count === preface.length ? "http2" : undefined;
}

export interface DetectionOptions {
  readonly wheel: TimerWheel;
  readonly timeouts: ServerTimeouts;
  /** Takes the socket over, within the event that brought the last byte. */
  readonly onDetected: (protocol: HttpProtocol, received: Buffer) => void;
  /** Gone before its protocol could be told. */
  readonly onClose: (connection: UndetectedConnection) => void;
}

/** A plaintext connection whose first bytes will tell what it speaks: clients of HTTP speak first. */
export class UndetectedConnection implements ServerConnection {
  readonly #socket: Socket;
  readonly #options: DetectionOptions;
  readonly #timer: WheelTimer;
  #received: Buffer | null = null;
  isDraining = false;
  readonly #onData = (chunk: Buffer): void => this.#read(chunk);
  readonly #onEnd = (): void => this.destroy();
  readonly #onClose = (): void => this.#closed();

  constructor(socket: Socket, options: DetectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#timer = options.wheel.add(options.timeouts.idleMs, { onTimer: this.#onEnd });
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("error", this.#onEnd);
    socket.on("close", this.#onClose);
    // Reset before it was handed over: its events are past.
    if (socket.destroyed) setImmediate(this.#onClose);
  }

  drain(): void {
    if (this.isDraining) return;
    this.isDraining = true;
    // Nothing has been asked yet. What still comes is swallowed, so that no reset is sent.
    if (this.#received !== null) return;
    this.#socket.off("data", this.#onData).resume().end();
    this.#timer.restart(this.#options.timeouts.lingerMs);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    const received = this.#received === null ? chunk : Buffer.concat([this.#received, chunk]);
    const protocol = detectProtocol(received);
    if (protocol === undefined) {
      if (this.#received === null) this.#timer.restart(this.#options.timeouts.headMs);
      this.#received = received;
      return;
    }
    this.#letGo();
    this.#options.onDetected(protocol, received);
  }

  #closed(): void {
    this.#letGo();
    // Until the last event of the socket, an error must not reach the process.
    this.#socket.on("error", this.#onEnd);
    this.#options.onClose(this);
  }

  #letGo(): void {
    this.#timer.cancel();
    this.#socket
      .off("data", this.#onData)
      .off("end", this.#onEnd)
      .off("error", this.#onEnd)
      .off("close", this.#onClose);
  }
}
