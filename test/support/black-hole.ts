import net from "node:net";

/** A TCP relay to one port that can turn into a black hole: it keeps connections open, accepts new ones, and passes nothing on. */
export interface BlackHole {
  readonly port: number;
  /** Accepted so far. */
  readonly connections: number;
  /** From now on nothing passes; no connection is closed. */
  swallow(): void;
  /** New connections pass again. Those that were swallowed stay as they are. */
  heal(): void;
  close(): void;
}

export async function startBlackHole(targetPort: number): Promise<BlackHole> {
  const sockets = new Set<net.Socket>();
  let isSwallowing = false;
  let connections = 0;
  const keep = (socket: net.Socket): void => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => sockets.delete(socket));
  };
  const server = net.createServer((socket) => {
    connections++;
    keep(socket);
    if (isSwallowing) return;
    const target = net.connect(targetPort, "127.0.0.1");
    keep(target);
    socket.pipe(target).pipe(socket);
    socket.once("close", () => target.destroy());
    target.once("close", () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    get connections() {
      return connections;
    },
    port: (server.address() as net.AddressInfo).port,
    swallow() {
      isSwallowing = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
    heal() {
      isSwallowing = false;
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
