/** Real processes: WebSockets from one application to another through their sidecars. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { metric, startMesh, type Running } from "../support/cli-mesh.js";
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
const web = await mesh.join({ name: "web", service: "web", upstreams: ["chat"] });
const place = await mesh.place({ name: "chat", service: "chat", command: [] });
const server = new WebSocketServer({ host: "127.0.0.1", port: place.app });
t.teardown(() => {
  for (const socket of server.clients) socket.terminate();
  server.close();
});
server.on("connection", (socket, request) => {
  socket.on("message", (data) => socket.send(`${request.url}: ${(data as Buffer).toString()}`));
});
const chat: Running = { ...place, process: mesh.run(place) };
await mesh.untilKnown(web, "chat", [chat]);

async function open(path: string): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${web.upstreams.get("chat") ?? 0}${path}`);
  await once(socket, "open");
  return socket;
}

async function say(socket: WebSocket, text: string): Promise<string> {
  socket.send(text);
  const [data] = (await once(socket, "message")) as [Buffer];
  return data.toString();
}

t.test("messages pass, and policies that change meanwhile cut nothing", async (t) => {
  const old = await open("/old");
  t.equal(await say(old, "hello"), "/old: hello");
  for (const idle of ["2s", "300ms"]) {
    await mesh.apply(policy(idle));
    t.equal(await say(old, idle), `/old: ${idle}`);
  }
  // The new time holds for tunnels that are opened from now on.
  const [code] = await until("an idle tunnel is cut", async () => {
    const idle = await open("/idle");
    const isCut = await Promise.race([once(idle, "close") as Promise<[number]>, sleep(1000, undefined)]);
    idle.terminate();
    return isCut;
  });
  t.equal(code, 1006, "without a close frame: its sidecar cannot make one");
  t.equal(await say(old, "still here"), "/old: still here");
  const busy = await open("/busy");
  for (let i = 0; i < 8; i++) {
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
});
