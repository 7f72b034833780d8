import net from "node:net";

/** Below the ports that the system gives to clients, and apart from test files that run at the same time. */
let nextPort = 12_000 + (process.pid % 180) * 100;

/** A port of 127.0.0.1 that nobody uses; never given out again by this process. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = nextPort++;
    const server = net.createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
