// # runs beside others
/** Real processes: WebSockets from one application to another through their sidecars, which speak HTTP/2 to each other. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { metric, readAdmin, startMesh, type Place, type Running } from "../support/cli-mesh.js";
import { pythonWith, skipWithoutPython } from "../support/python.js";
import { connect, RawPeer } from "../support/raw-client.js";
import { until } from "../support/until.js";

const policy = (idleTimeout: string): string => `
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: chat }
spec:
  targetRefs: [{ group: "", kind: Service, name: chat }]
  connectionPool: { tcp: { idleTimeout: ${idleTimeout} } }
`;

const mesh = await startMesh(t);
const web = await mesh.join({ name: "web", service: "web", upstreams: ["chat", "python", "raw"] });
const place = await mesh.place({ name: "chat", service: "chat", command: [] });
const server = new WebSocketServer({ host: "127.0.0.1", port: place.app });
t.teardown(() => {
  for (const socket of server.clients) socket.terminate();
  server.close();
});
server.on("connection", (socket, request) => {
  socket.on("message", (data, isBinary) => {
    if (isBinary) return socket.send(data);
    const text = (data as Buffer).toString();
    if (text === "bye") socket.close(4001, "as you wish");
    else socket.send(`${request.url}: ${text}`);
  });
});
const chat: Running = { ...place, process: mesh.run(place) };
await mesh.untilKnown(web, "chat", [chat]);

const noPython = skipWithoutPython("websockets");
const script = path.resolve(import.meta.dirname, "../../../test/support/websocket_peer.py");
const at = (service: string): string => `ws://127.0.0.1:${web.upstreams.get(service) ?? 0}`;

/** A sidecar of HTTP/1.1 for an application that `start` brings up at its port. */
async function join(service: string, start: (place: Place) => Promise<unknown>): Promise<void> {
  const place = await mesh.place({ name: service, service, command: [] });
  await start(place);
  await mesh.untilKnown(web, service, [{ ...place, process: mesh.run(place) } as Running]);
}

async function open(path: string, service = "chat"): Promise<WebSocket> {
  const socket = new WebSocket(`${at(service)}${path}`);
  await once(socket, "open");
  return socket;
}

async function say(socket: WebSocket, text: string): Promise<string> {
  socket.send(text);
  const [data] = (await once(socket, "message", { signal: AbortSignal.timeout(15_000) })) as [Buffer];
  return data.toString();
}

t.test("messages pass, and policies that change meanwhile cut nothing", async (t) => {
  const old = await open("/old");
  t.equal(await say(old, "hello"), "/old: hello");
  for (const idle of ["2s", "1s"]) {
    await mesh.apply(policy(idle));
    t.equal(await say(old, idle), `/old: ${idle}`);
  }
  // The new time holds for tunnels that are opened from now on.
  const [code] = await until("an idle tunnel is cut", async () => {
    const idle = await open("/idle");
    const isCut = await Promise.race([once(idle, "close") as Promise<[number]>, sleep(3000, undefined)]);
    idle.terminate();
    return isCut;
  });
  t.equal(code, 1006, "without a close frame: its sidecar cannot make one");
  t.equal(await say(old, "still here"), "/old: still here");
  const busy = await open("/busy");
  for (let i = 0; i < 15; i++) {
    t.equal(await say(busy, `${i}`), `/busy: ${i}`);
    await sleep(100);
  }
  for (const socket of [old, busy]) {
    socket.close(1000, "done");
    const [closed] = (await once(socket, "close")) as [number];
    t.equal(closed, 1000);
  }
  await until("both sides have counted it", async () => {
    const labels = { response_code: "101", destination_workload: "chat" };
    const source = await metric(web.admin, "istio_requests_total", { ...labels, reporter: "source" });
    const destination = await metric(chat.admin, "istio_requests_total", {
      ...labels,
      reporter: "destination",
    });
    return source >= 3 && destination >= 3;
  });
  // The other tests take their time.
  await mesh.remora(["delete", "trafficpolicy", "chat"]);
  await until("a silent socket that stays open", async () => {
    const silent = await open("/silent");
    const isCut = await Promise.race([once(silent, "close").then(() => true), sleep(1500, false)]);
    silent.terminate();
    return !isCut;
  });
});

/** What a client of python3-websockets heard: replies, then close code and reason. */
async function pythonTalk(uri: string, texts: readonly string[]): Promise<unknown[]> {
  const child = spawn(pythonWith("websockets"), [script, "client", uri, ...texts], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 20_000,
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  await once(child, "close");
  return out
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
}

t.test("ws and python3-websockets understand each other", { skip: noPython }, async (t) => {
  await join("python", async ({ app }) => {
    const child = spawn(pythonWith("websockets"), [script, "server", `${app}`], {
      stdio: ["pipe", "inherit", "inherit"],
    });
    t.teardown(() => child.stdin.end());
    await until("websocket_peer.py", async () => {
      const socket = net.connect(app, "127.0.0.1");
      await once(socket, "connect");
      return socket.destroy();
    });
  });
  const big = "ü".repeat(20_000);
  for (const service of ["chat", "python"])
    t.same(
      await pythonTalk(`${at(service)}/p`, ["hello", big, "bye"]),
      ["/p: hello", `/p: ${big}`, [4001, "as you wish"]],
      `client in Python, server ${service}`,
    );
  const socket = await open("/p", "python");
  t.equal(await say(socket, "hello"), "/p: hello");
  const bytes = Buffer.alloc(3_000_000, "0123456789abcdef");
  socket.send(bytes);
  const [echo] = (await once(socket, "message")) as [Buffer];
  t.ok(echo.equals(bytes), "3 MB there and back");
  socket.send("bye");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  t.same([code, reason.toString()], [4001, "as you wish"]);
});

t.test("RFC 8441: a client of HTTP/2 reaches an HTTP/1.1 application", async (t) => {
  const session = http2.connect(at("chat").replace("ws:", "http:"));
  t.teardown(() => session.destroy());
  await once(session, "remoteSettings");
  t.equal(session.remoteSettings.enableConnectProtocol, true);
  const stream = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": "/h2",
    "sec-websocket-version": "13",
  });
  const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  t.equal(headers[":status"], 200);
  t.notOk("sec-websocket-accept" in headers, "that is HTTP/1.1's");
  const frame = async (bytes: Buffer): Promise<Buffer> => {
    stream.write(bytes);
    const [data] = (await once(stream, "data")) as [Buffer];
    return data;
  };
  // RFC 6455 §5.2: masked with zeros, so that the text can be read.
  const masked = (opcode: number, payload: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
  const reply = await frame(masked(1, Buffer.from("hello")));
  t.same([reply[0], reply.subarray(2).toString()], [0x81, "/h2: hello"]);
  const closing = await frame(masked(8, Buffer.from([0x03, 0xe8])));
  t.same([...closing], [0x88, 2, 0x03, 0xe8], "the close code comes back");
  await once(stream, "end");
});

t.test("sockets live through pushes of routes", async (t) => {
  const sockets = await Promise.all(["/1", "/2", "/3"].map((path) => open(path)));
  const version = async (): Promise<string> => JSON.stringify(await readAdmin(web.admin, "/config_dump"));
  const pushes = 100;
  for (let push = 0; push < pushes; push++) {
    const marker = `push-${push}`;
    await mesh.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: pushed }
spec:
  parentRefs: [{ group: "", kind: Service, name: chat }]
  rules: [{ matches: [{ headers: [{ name: x-push, value: ${marker} }] }], backendRefs: [{ name: chat }] }]
`);
    await until(marker, async () => (await version()).includes(marker));
    for (const [n, socket] of sockets.entries()) t.equal(await say(socket, marker), `/${n + 1}: ${marker}`);
  }
  for (const socket of sockets) socket.close(1000);
  await Promise.all(sockets.map((socket) => once(socket, "close")));
});

t.test("any other upgrade: bytes, half-close and reset pass in both directions", async (t) => {
  const peers: RawPeer[] = [];
  const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n";
  const app = net.createServer({ allowHalfOpen: true }, (socket) => {
    const peer = new RawPeer(socket);
    peer.onData = () => {
      if (peer.isKept && peer.text.includes("\r\n\r\n") && !peers.includes(peer)) {
        peers.push(peer);
        peer.write(`${head}welcome\n`);
      }
    };
  });
  t.teardown(() => {
    app.close();
    for (const { socket } of peers) socket.destroy();
  });
  await join("raw", ({ app: port }) => once(app.listen(port, "127.0.0.1"), "listening"));
  const ask = async () => {
    const client = connect(t, web.upstreams.get("raw") ?? 0);
    const known = peers.length;
    client.write("GET /raw HTTP/1.1\r\nHost: raw\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n");
    t.match(await client.gets("welcome\n"), /^HTTP\/1\.1 101 [^]*upgrade: lines/i);
    return { client, peer: peers[known] as RawPeer };
  };
  const first = await ask();
  first.client.write("question");
  first.client.socket.end();
  await first.peer.wait("half-close", () => first.peer.isEnded);
  t.match(first.peer.text, /question$/);
  t.notOk(first.client.isEnded, "the other direction is open");
  first.peer.write(Buffer.alloc(2_000_000, "x"));
  first.peer.socket.end();
  await first.client.over();
  t.match(first.client.text, /x{100}$/);
  t.ok(first.client.size > 2_000_000, "everything comes that is said after it");
  for (const side of ["client", "peer"] as const) {
    const both = await ask();
    const other = side === "client" ? both.peer : both.client;
    both[side].socket.resetAndDestroy();
    await other.closed();
    t.equal(other.error, "ECONNRESET", `a reset by the ${side}`);
  }
});

t.test("all of it went by HTTP/2 from sidecar to sidecar", async (t) => {
  for (const service of ["chat", "raw"]) {
    const cluster = { envoy_cluster_name: `${service}.default` };
    t.ok((await metric(web.admin, "envoy_cluster_upstream_cx_http2_total", cluster)) > 0);
    t.equal(await metric(web.admin, "envoy_cluster_upstream_cx_http1_total", cluster), 0);
  }
});
