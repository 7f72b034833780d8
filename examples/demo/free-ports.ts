import net from "node:net";

/** Below the ports that the system gives to clients, which could take one before its server does. */
const lowestPort = 12_000;
const stretches = 200;
const stretchLength = 100;

let stretch: Promise<void> | undefined;
let nextPort = 0;

/** Ports of 127.0.0.1 that nobody uses; never given out again, neither here nor by other processes that ask this function. */
export async function freePorts(count: number): Promise<number[]> {
  await (stretch ??= takeStretch());
  const ports: number[] = [];
  while (ports.length < count) {
    const port = nextPort++;
    const server = await listen(port);
    if (server === undefined) continue;
    await new Promise((resolve) => server.close(resolve));
    ports.push(port);
  }
  return ports;
}

/** The first port of a stretch is held as long as this process lives: whose it is, has the others. */
async function takeStretch(): Promise<void> {
  for (let i = 0; i < stretches; i++) {
    const port = lowestPort + ((process.pid + i) % stretches) * stretchLength;
    const server = await listen(port);
    if (server === undefined) continue;
    server.unref();
    nextPort = port + 1;
    return;
  }
  throw new Error(`no free ports from ${lowestPort} to ${lowestPort + stretches * stretchLength}`);
}

function listen(port: number): Promise<net.Server | undefined> {
  const server = net.createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
