import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { ConfigError } from "../errors/config-error.js";

export interface ListenerOptions {
  /** For error texts: the flag that chose the port, for example `--inbound`. */
  readonly flag: string;
  readonly address: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Takes over the socket, its errors included. */
  readonly onSocket: (socket: Socket) => void;
}

/** Connections beyond this are closed on accept: the process keeps descriptors for its upstreams and files. */
const maxConnections = 10_000;

/** A bound TCP port. */
export class Listener {
  readonly #server: Server;
  readonly port: number;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** Throws ConfigError when the port cannot be bound. */
  static open(options: ListenerOptions): Promise<Listener> {
    const { flag, address, port, onSocket } = options;
    return new Promise((resolve, reject) => {
      const server = net.createServer({ noDelay: true, pauseOnConnect: false }, onSocket);
      server.maxConnections = maxConnections;
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
