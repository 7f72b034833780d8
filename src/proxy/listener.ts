import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { ConfigError } from "../errors/config-error.js";
import type { ConnectionLimit } from "./connection-limit.js";

/** What somebody listens at, and what becomes of the connections. */
export interface ListenOptions {
  /** For error texts: the flag that chose the port, for example `--inbound`. */
  readonly flag: string;
  readonly address: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Takes over the socket, its errors included. */
  readonly onSocket: (socket: Socket) => void;
}

export interface ListenerOptions extends ListenOptions {
  /** Shared by all listeners: connections beyond it are closed on accept. */
  readonly limit: ConnectionLimit;
  /** Sockets go to another process: none is read from, and `onSocket` takes over the connection's place in the limit too. */
  readonly isForOthers?: boolean;
}

/** A port that connections come from. */
export interface Port {
  readonly port: number;
  /** Stops accepting; open connections stay. */
  close(): void;
}

/** Opens a port of this process's own, or one that another process accepts for. Rejects with ConfigError when it cannot. */
export type Listen = (options: ListenOptions) => Promise<Port>;

/** Ports of this process's own. */
export function listenWithin(limit: ConnectionLimit): Listen {
  return (options) => Listener.open({ ...options, limit });
}

/** A bound TCP port. */
export class Listener implements Port {
  readonly #server: Server;
  readonly port: number;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** Throws ConfigError when the port cannot be bound. */
  static open(options: ListenerOptions): Promise<Listener> {
    const { flag, address, port, limit, onSocket, isForOthers = false } = options;
    return new Promise((resolve, reject) => {
      const server = net.createServer({ noDelay: true, pauseOnConnect: isForOthers }, (socket) => {
        if (!limit.take()) return void socket.destroy();
        if (!isForOthers) socket.once("close", () => limit.give());
        onSocket(socket);
      });
      server.once("error", (cause: NodeJS.ErrnoException) => reject(bindError(cause, flag, address, port)));
      server.listen({ host: address, port, backlog: 1024 }, () => {
        server.removeAllListeners("error");
        // Accept errors such as EMFILE pass: the next connection is tried again.
        server.on("error", () => {});
        resolve(new Listener(server));
      });
    });
  }

  /** Stops accepting; open connections stay. */
  close(): void {
    this.#server.close();
  }
}

function bindError(cause: NodeJS.ErrnoException, flag: string, address: string, port: number): ConfigError {
  const where = `${address}:${port}`;
  const options = { cause, place: flag };
  if (cause.code === "EADDRINUSE") {
    return new ConfigError(
      `port in use: ${where}; stop the process that listens there or choose another port`,
      options,
    );
  }
  if (cause.code === "EACCES")
    return new ConfigError(`no permission to bind ${where}; use a port from 1024 on`, options);
  if (cause.code === "EADDRNOTAVAIL")
    return new ConfigError(`${address} is not an address of this machine`, options);
  return new ConfigError(`cannot listen on ${where}: ${cause.message}`, options);
}
