/** maxRequestsPerConnection on real sockets: connections come and go under load, and no request notices. */
import http, { type IncomingMessage, type RequestListener } from "node:http";
import http2 from "node:http2";
import type { AddressInfo, Server } from "node:net";
import t, { type Test } from "tap";
import { ProxyPair } from "../support/proxy-pair.js";

const perConnection = 7;
const requests = 300;

/** An application that says what it was sent, and counts the requests of each connection. */
async function countingApp(t: Test, kind: "http1" | "http2") {
  const counts = new Map<unknown, number>();
  const answer: RequestListener = (request, response) => {
    const connection =
      kind === "http2" ? (request as never as http2.Http2ServerRequest).stream.session : request.socket;
    counts.set(connection, (counts.get(connection) ?? 0) + 1);
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () =>
      setImmediate(() => response.end(`${request.url}:${Buffer.concat(parts).length}`)),
    );
  };
  const server: Server = kind === "http2" ? http2.createServer(answer as never) : http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return { port: (server.address() as AddressInfo).port, counts };
}

async function post(agent: http.Agent, port: number, path: string, body: string): Promise<string> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = http.request({ agent, port, path, method: "POST" }, resolve);
    request.on("error", reject).end(body);
  });
  let text = `${response.statusCode} `;
  for await (const part of response) text += String(part);
  return text;
}

for (const [hop, app] of [
  ["http1", "http1"],
  ["http2", "http1"],
  ["http2", "http2"],
] as const) {
  t.test(`${requests} requests over ${hop} between sidecars, ${app} to the application`, async (t) => {
    const { port, counts } = await countingApp(t, app);
    const pair = await ProxyPair.open(t, {
      ...{ upstreamPort: port, hop, app },
      pool: { maxConnections: 8, maxRequestsPerConnection: perConnection },
    });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 40 });
    t.teardown(() => agent.destroy());
    const answers = await Promise.all(
      Array.from({ length: requests }, (_, n) => post(agent, pair.port, `/${n}`, "x".repeat(n * 50))),
    );
    t.strictSame(
      answers,
      Array.from({ length: requests }, (_, n) => `200 /${n}:${n * 50}`),
      "each has its own answer",
    );
    t.equal(
      [...counts.values()].reduce((sum, count) => sum + count, 0),
      requests,
      "each went out once",
    );
    t.ok(Math.max(...counts.values()) <= perConnection, `at most ${Math.max(...counts.values())} on one`);
    const least = Math.ceil(requests / perConnection);
    for (const pool of pair.pools) t.ok(pool.opened >= least, `${pool.opened} connections were opened`);
  });
}
