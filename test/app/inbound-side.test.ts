/** The inbound listener in its three modes and over certificate rotations, on real sockets. */
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import http2 from "node:http2";
import net, { type AddressInfo, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import type { MtlsMode, Protocol } from "../../src/config/snapshot.js";
import { trustOfSvid } from "../../src/identity/mesh-trust.js";
import { OpenPeers } from "../../src/identity/open-peers.js";
import { clientTlsOptions } from "../../src/identity/tls-options.js";
import type { Svid } from "../../src/identity/svid.js";
import { InboundSide } from "../../src/inbound-side.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { ConnectionLimit } from "../../src/proxy/connection-limit.js";
import { RequestMemory } from "../../src/policy/request-memory.js";
import { PolicyMetrics } from "../../src/telemetry/policy-metrics.js";
import { Metrics } from "../../src/telemetry/metrics.js";
import { Authorization, prepareAuthorization } from "../../src/proxy/authorization.js";
import { DataPlane } from "../../src/proxy/data-plane.js";
import { listenWithin } from "../../src/proxy/listener.js";
import { SidecarTelemetry } from "../../src/sidecar-telemetry.js";
import { systemClock } from "../../src/time/clock.js";
import { TimerWheel } from "../../src/time/timer-wheel.js";
import { InboundRules } from "../../src/proxy/inbound-rules.js";
import { call } from "../support/http-load.js";
import { makeCertificate, makeRoot, uri } from "../support/make-certificate.js";
import { connect, converse, RawPeer } from "../support/raw-client.js";
import { bootstrapOf, identityOf, snapshotTo, trustDomain } from "../support/sidecar-kit.js";
import { until } from "../support/until.js";

async function setup(t: Test, mode: MtlsMode | undefined, limit = new ConnectionLimit()) {
  /** Requests for /held wait for these. */
  const held: (() => void)[] = [];
  const respond = (request: IncomingMessage, response: ServerResponse): void => {
    const caller = request.headers["x-remora-caller"] ?? "nobody";
    let size = 0;
    response.setHeader("spoken", request.httpVersion);
    request.on("data", (chunk: Buffer) => (size += chunk.length));
    request.on("end", () => {
      const end = (): void => void response.end(`${request.method} by ${caller.toString()} ${size}`);
      if (request.url === "/held") held.push(end);
      else end();
    });
  };
  const app = bilingual(respond);
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  const clock = systemClock;
  const wheel = new TimerWheel(clock);
  const bootstrap = bootstrapOf("api", "/nowhere", {
    appPort: (app.address() as AddressInfo).port,
    accessLog: { format: "off", path: "-" },
  });
  const identity = `spiffe://${trustDomain}/ns/default/svc/api`;
  const logged: string[] = [];
  const log = (_: string, message: string): void => void logged.push(message);
  const telemetry = new SidecarTelemetry(bootstrap, identity, trustDomain, clock, log);
  const plane = new DataPlane({
    clock,
    wheel,
    cluster: () => {
      throw new Error("no clusters here");
    },
  });
  let version = 0;
  const setMode = (mtlsMode: MtlsMode, maxRequests = 0): void => {
    const empty = snapshotTo([], { version: String(++version), services: [] });
    plane.apply({ ...empty, endpoints: new Map(), inbound: { mtlsMode, maxRequests } });
  };
  const setProtocol = (protocol: Protocol): void => {
    const empty = snapshotTo([], { version: String(++version), services: [] });
    const inbound = { mtlsMode: mode ?? "STRICT", maxRequests: 0, protocol };
    plane.apply({ ...empty, endpoints: new Map(), inbound });
  };
  if (mode !== undefined) setMode(mode);
  const certificates = new LatestValue<Svid | undefined>(await identityOf("api"));
  const trust = new LatestValue(trustOfSvid(await identityOf("api")));
  const peers = new OpenPeers(trust, clock, () => undefined);
  const authorization = new Authorization({
    port: 0,
    metrics: (...labels) => new PolicyMetrics(new Metrics()).authorization(...labels),
  });
  authorization.use(prepareAuthorization(undefined));
  const side = new InboundSide({
    authorization,
    rules: new InboundRules([]),
    memory: new RequestMemory(),
    ...{ bootstrap, certificates, trust, peers, identity, trustDomain, plane, telemetry, clock, wheel, log },
    listen: listenWithin(limit),
  });
  await side.open();
  t.teardown(() => {
    side.close();
    app.close();
  });
  const refusals = (): Record<string, number> =>
    Object.fromEntries(
      telemetry.metrics.peerRefusals
        .samples()
        .map(({ sharedLabels, value }) => [sharedLabels["reason"] ?? "", value]),
    );
  return { side, port: side.port, setMode, setProtocol, held, certificates, refusals, telemetry };
}

/** An application that speaks HTTP/1.1 and HTTP/2 with prior knowledge. */
function bilingual(respond: (request: IncomingMessage, response: ServerResponse) => void): net.Server {
  const http1 = http.createServer(respond);
  const other = http2.createServer((request, response) =>
    respond(request as unknown as IncomingMessage, response as unknown as ServerResponse),
  );
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    socket.once("readable", () => {
      const first = socket.read() as Buffer | null;
      if (first === null) return void socket.destroy();
      socket.unshift(first);
      (first.toString("latin1").startsWith("PRI ") ? other : http1).emit("connection", socket);
    });
  });
  const close = server.close.bind(server);
  server.close = () => {
    for (const socket of sockets) socket.destroy();
    return close();
  };
  return server;
}

const request = "GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n";

function dial(t: Test, port: number, svid: Svid | undefined): { tls: TLSSocket; peer: RawPeer } {
  const options = svid === undefined ? { rejectUnauthorized: false } : clientTlsOptions(svid);
  const tls = connectTls({ host: "127.0.0.1", port, ALPNProtocols: ["http/1.1"], ...options });
  t.teardown(() => tls.destroy());
  return { tls, peer: new RawPeer(tls) };
}

async function overTls(t: Test, port: number, svid: Svid | undefined): Promise<string> {
  const { peer } = dial(t, port, svid);
  peer.write(request);
  return peer.over();
}

t.test("STRICT, also before any configuration: a mesh certificate or nothing", async (t) => {
  const web = await identityOf("web");
  const life = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 600_000 };
  const stranger = makeRoot({ ...life, names: [uri(`spiffe://${trustDomain}`)] });
  const leaf = makeCertificate({
    ...life,
    issuer: stranger,
    names: [uri(`spiffe://${trustDomain}/ns/default/svc/web`)],
  });
  for (const mode of [undefined, "STRICT"] as const) {
    const { port, refusals } = await setup(t, mode);
    t.match(await overTls(t, port, web), /GET by spiffe:\/\/mesh\.local\/ns\/default\/svc\/web 0$/);
    t.equal(await converse(t, port, request), "", "plaintext gets no byte");
    t.equal(await overTls(t, port, undefined), "", "no certificate");
    const forged = { ...web, certChainPem: leaf.pem, keyPem: leaf.keyPem };
    t.equal(await overTls(t, port, forged), "", "the same name from another CA");
    await until("all are counted", () => Object.values(refusals()).reduce((a, b) => a + b, 0) === 3);
    t.match(refusals(), { no_certificate: 1, unknown_issuer: 1, handshake_failed: 1 });
  }
});

t.test("peers of the mesh choose the protocol in their handshake", async (t) => {
  const { port, telemetry } = await setup(t, "STRICT");
  const web = await identityOf("web");
  for (const offer of [{ ALPNProtocols: ["http/1.1"] }, {}]) {
    const tls = connectTls({ host: "127.0.0.1", port, ...clientTlsOptions(web), ...offer });
    t.teardown(() => tls.destroy());
    const peer = new RawPeer(tls);
    peer.write(request);
    t.match(await peer.over(), /GET by spiffe:\/\/mesh\.local\/ns\/default\/svc\/web 0$/);
  }
  t.equal(telemetry.inboundListener.http1Connections.value, 2);
  // An independent peer with an identity of the mesh.
  const session = http2.connect(`https://127.0.0.1:${port}`, clientTlsOptions(web));
  t.teardown(() => session.destroy());
  const stream = session.request({ ":path": "/", ":authority": "api", "x-remora-caller": "somebody else" });
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  await new Promise((resolve, reject) => stream.on("end", resolve).on("error", reject));
  t.equal(text, "GET by spiffe://mesh.local/ns/default/svc/web 0");
  t.equal(telemetry.inboundListener.http2Connections.value, 1);
});

t.test("the application's protocol changes with a push, and no request is lost", async (t) => {
  const { port, setProtocol, held } = await setup(t, "PERMISSIVE");
  const clients: RawPeer[] = [];
  for (const [protocol, spoken] of [
    ["http", "1.1"],
    ["grpc", "2.0"],
    ["http", "1.1"],
    ["http2", "2.0"],
  ] as const) {
    setProtocol(protocol);
    t.match(await converse(t, port, request), new RegExp(`\\r\\nspoken: ${spoken}\\r\\n`, "i"), protocol);
    const client = connect(t, port);
    client.write(request.replace("/", "/held"));
    clients.push(client);
    await until("it is at the application", () => held.length === clients.length);
  }
  for (const release of held) release();
  for (const client of clients) t.match(await client.over(), /^HTTP\/1\.1 200 [^]*GET by nobody 0/);
});

t.test("PERMISSIVE: TLS and plaintext on one port, however late the first byte comes", async (t) => {
  const { port, side } = await setup(t, "PERMISSIVE");
  const web = await identityOf("web");
  t.match(await overTls(t, port, web), /GET by spiffe:\/\/mesh\.local\/ns\/default\/svc\/web 0$/);
  t.match(await converse(t, port, request), /GET by nobody 0$/);

  // The first byte alone, then the rest; a body that comes with the head and goes on after it.
  const slow = connect(t, port);
  await slow.wait("connected", () => !slow.socket.connecting);
  // The event loop has nothing to do meanwhile: the listener has seen the connection without a byte.
  t.match(await overTls(t, port, web), "200 OK");
  slow.write("P");
  t.match(await overTls(t, port, web), "200 OK");
  slow.write("OST / HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n");
  for (let i = 0; i < 20; i++) slow.write(Buffer.alloc(10_000, 120));
  t.match(await slow.over(), /POST by nobody 200000$/);

  // TLS on a connection that was silent at first, its ClientHello byte by byte.
  const silent = connect(t, port);
  await silent.wait("connected", () => !silent.socket.connecting);
  t.match(await converse(t, port, request), "200 OK");
  const tls = connectTls({ socket: silent.socket, ...clientTlsOptions(web) });
  const peer = new RawPeer(tls);
  peer.write(request.replace("GET", "PUT").replace("\r\n\r\n", "\r\nContent-Length: 300000\r\n\r\n"));
  peer.write(Buffer.alloc(300_000, 120));
  t.match(await peer.over(), /PUT by spiffe:\/\/mesh\.local\/ns\/default\/svc\/web 300000$/);

  // Gone without a word.
  const mute = connect(t, port);
  await mute.wait("connected", () => !mute.socket.connecting);
  mute.socket.end();
  await mute.over();
  await side.drain(1000);
});

t.test("DISABLE: plaintext only", async (t) => {
  const { port } = await setup(t, "DISABLE");
  t.match(await converse(t, port, request), /GET by nobody 0$/);
  t.match(await overTls(t, port, await identityOf("web")), "");
});

t.test("a policy that forbids plaintext ends the connections that are older than it", async (t) => {
  const { port, setMode } = await setup(t, "PERMISSIVE");
  const plain = connect(t, port);
  plain.write("GET / HTTP/1.1\r\nHost: api\r\n\r\n");
  await plain.gets("GET by nobody 0");
  const { peer } = dial(t, port, await identityOf("web"));
  peer.write("GET / HTTP/1.1\r\nHost: api\r\n\r\n");
  await peer.gets("GET by");
  setMode("STRICT");
  plain.write("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n");
  t.match(await plain.gets("403 Forbidden"), "x-remora-error: denied");
  peer.write("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n");
  await peer.gets("POST by spiffe:");
  t.equal(await converse(t, port, request), "");
});

t.test(
  "a rotation is served to new handshakes at once, open connections live on, and the check sees it",
  async (t) => {
    const { port, side, certificates, refusals, telemetry } = await setup(t, "STRICT");
    const web = await identityOf("web");
    const old = certificates.get();
    const { tls, peer } = dial(t, port, web);
    peer.write("GET / HTTP/1.1\r\nHost: api\r\n\r\n");
    await peer.gets("GET by");
    for (let round = 0; round < 3; round++) {
      const next = await identityOf("api");
      certificates.set(next);
      t.same(await side.checkServed(next), { ok: true });
      if (old !== undefined)
        t.match(await side.checkServed(old), { ok: false, detail: /another certificate/ });
      peer.write("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n");
    }
    await peer.wait("three more answers", () => peer.text.split("POST by").length === 4);
    t.equal(tls.destroyed, false);
    await until(
      "the checks' own connections are gone",
      () => telemetry.inboundListener.connectionsActive.value === 1,
    );
    t.same(refusals(), {}, "the checks are no refused peers");

    // An identity that OpenSSL cannot use is not served, and told.
    certificates.set({ ...(await identityOf("api")), keyPem: "no key" });
    t.same(refusals(), { own_certificate: 1 });
    t.match(await overTls(t, port, web), "200 OK");
  },
);

t.test("limits change with each push, without losing count of what is under way", async (t) => {
  const { port, setMode } = await setup(t, "DISABLE");
  const open = async () => {
    const client = connect(t, port);
    client.write("POST / HTTP/1.1\r\nHost: api\r\nContent-Length: 1\r\n\r\n");
    await client.wait("connected", () => !client.socket.connecting);
    return client;
  };
  setMode("DISABLE", 2);
  const first = await open();
  const second = await open();
  await until("two are under way", async () => (await call({ port })).status === 503);
  setMode("DISABLE", 3);
  t.match(await call({ port }), { status: 200 });
  setMode("DISABLE", 1);
  t.match(await call({ port }), { status: 503, error: "concurrency_limit" });
  first.write("x");
  await first.gets("POST by nobody 1");
  t.match(await call({ port }), { status: 503 });
  second.write("x");
  await second.gets("POST by nobody 1");
  t.match(await call({ port }), { status: 200 });
  setMode("DISABLE", 0);
  t.match(await call({ port }), { status: 200 });
});

t.test("closing cuts off whoever has not finished the handshake, and takes nobody more", async (t) => {
  for (const mode of ["STRICT", "PERMISSIVE"] as const) {
    const { port, side } = await setup(t, mode);
    const silent = connect(t, port);
    await silent.wait("connected", () => !silent.socket.connecting);
    t.match(await overTls(t, port, await identityOf("web")), "200 OK");
    side.close();
    t.equal(await silent.over(), "");
  }
});

t.test(
  "connections over the limit are closed on accept; those that are open go on, and their places come back",
  async (t) => {
    const { port } = await setup(t, "DISABLE", new ConnectionLimit(2));
    const get = "GET / HTTP/1.1\r\nHost: api\r\n\r\n";
    const first = connect(t, port);
    first.write(get);
    await first.gets("GET by");
    const second = connect(t, port);
    second.write(get);
    await second.gets("GET by");
    t.equal(await converse(t, port, request), "");
    first.write(get.replace("GET", "PUT"));
    await first.gets("PUT by");
    second.socket.destroy();
    await until("the place is free again", async () => (await converse(t, port, request)) !== "");
    t.ok(new ConnectionLimit().max >= 100 && new ConnectionLimit().max <= 10_000);
  },
);

t.test("a TLS connection gives its place back, too", async (t) => {
  const { port } = await setup(t, "STRICT", new ConnectionLimit(1));
  const web = await identityOf("web");
  for (let i = 0; i < 3; i++)
    await until(`request ${i}`, async () => (await overTls(t, port, web)).includes("200 OK"));
});
