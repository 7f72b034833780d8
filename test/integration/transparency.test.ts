// # runs beside others
/** Real processes: what applications must not notice of sidecars, nor whoever stores their metrics. */
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import t from "tap";
import { startMesh, type Place, type Running } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import { machinePace } from "../support/machine-pace.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const outbound = await mesh.freePort();
const web = await mesh.join({
  ...{ name: "web", service: "web", upstreams: ["echo", "db"], command: [] },
  flags: ["--outbound", `${outbound}`],
});

/** A sidecar for a server of this process. */
async function join(service: string, protocol: string, server: net.Server): Promise<Running> {
  const flags = ["--protocol", protocol];
  const place = await mesh.place({ name: service, service, command: [], flags });
  await once(server.listen(place.app, "127.0.0.1"), "listening");
  t.teardown(() => server.close());
  const running = { ...place, process: mesh.run(place) };
  await mesh.untilKnown(web, service, [running]);
  return running;
}

const portOf = (service: string): number => web.upstreams.get(service) ?? 0;

const kib = 1024;
const fieldNames = ["x-a", "x-b", "x-c", "x-d"];
/** Four fields of a quarter of `bytes` each. */
const fields = (bytes: number): Record<string, string> =>
  Object.fromEntries(fieldNames.map((name) => [name, name.at(-1)?.repeat(bytes / 4) ?? ""]));

/** Answers with the fields that it was sent. */
const echoServer = http.createServer({ maxHeaderSize: 256 * kib }, (request, response) => {
  for (const name of fieldNames) response.setHeader(name, request.headers[name] ?? "");
  response.end("echo");
});
const echo = await join("echo", "http", echoServer);

t.test("60 KiB of header fields pass in both directions, more are refused by name", async (t) => {
  const ask = (bytes: number): Promise<http.IncomingMessage> =>
    new Promise((resolve, reject) => {
      const options = {
        host: "127.0.0.1",
        port: portOf("echo"),
        headers: fields(bytes),
        agent: false as const,
      };
      http
        .get({ ...options, maxHeaderSize: 256 * kib }, (response) => resolve(response.resume()))
        .on("error", reject);
    });
  await until("echo answers", async () => (await ask(4)).statusCode === 200);
  const { statusCode, headers } = await ask(60 * kib);
  t.equal(statusCode, 200);
  const sent = fields(60 * kib);
  t.ok(fieldNames.every((name) => headers[name] === sent[name]));
  const refused = await ask(80 * kib);
  t.equal(refused.statusCode, 431);
  t.equal(refused.headers["x-remora-error"], "request_headers_too_large");
});

t.test("a server that speaks first is heard at once", async (t) => {
  const greeting = "220 db ready\r\n";
  await join(
    "db",
    "tcp",
    net.createServer((socket) => void socket.on("error", () => undefined).end(greeting)),
  );
  const heard = async (): Promise<number> => {
    const startMs = performance.now();
    const socket = net.connect(portOf("db"), "127.0.0.1");
    const [first] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    t.equal(first.toString(), greeting);
    return performance.now() - startMs;
  };
  // The best of a few, on a machine of the speed it has now: a wait for the client's first bytes would be in all of them.
  const took: number[] = [];
  const allowedMs = 50 * (await machinePace());
  while (took.length < 10) took.push(await heard());
  t.ok(Math.min(...took) < allowedMs, `${took.map(Math.round).join(", ")} ms`);
});

t.test("no number of hosts and paths makes more series of metrics", async (t) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  t.teardown(() => agent.destroy());
  const statuses = new Set<number>();
  const load = async (from: number, count: number): Promise<void> => {
    const ask = async (n: number): Promise<void> => {
      const port = n % 2 === 0 ? portOf("echo") : outbound;
      const host = `host-${n}.example`;
      const { status } = await call({ port, path: `/path-${n}`, headers: { host }, agent });
      statuses.add(status);
    };
    await Promise.all(Array.from({ length: count }, (_, n) => ask(from + n)));
  };
  await load(0, 100);
  const before = [await seriesOf(web), await seriesOf(echo)];
  const known = [...statuses];
  await load(100, 5000);
  t.same([...statuses], known, "the same answers");
  t.same([await seriesOf(web), await seriesOf(echo)], before, `${before.join(" and ")} series`);
});

/** Those about requests: the garbage collector has its own as its kinds of work come. */
async function seriesOf({ admin }: Place): Promise<number> {
  const { body } = await call({ port: admin, path: "/stats/prometheus" });
  return body.split("\n").filter((line) => /^(?:envoy|istio|remora)_/.test(line)).length;
}
