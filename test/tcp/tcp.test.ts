/** Raw TCP through both sidecars, on real sockets. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import tls from "node:tls";
import t from "tap";
import { clientTlsOptions } from "../../src/identity/tls-options.js";
import { checkServed } from "../../src/identity/served-check.js";
import { systemClock } from "../../src/time/clock.js";
import { resetSocket } from "../../src/traffic/broken-socket.js";
import { pattern, patternSha256 } from "../support/byte-pattern.js";
import { eventually } from "../support/eventually.js";
import { call } from "../support/http-load.js";
import { connect, type RawPeer } from "../support/raw-client.js";
import { freePort } from "../support/free-port.js";
import { identityOf } from "../support/sidecar-kit.js";
import { listen, openTcpPair } from "../support/tcp-pair.js";

const mib = 1024 * 1024;

function echo(peer: RawPeer): void {
  peer.isKept = false;
  peer.socket.pipe(peer.socket);
}

/** Writes the pattern as fast as it is taken, then a FIN. */
async function sendPattern({ socket }: RawPeer, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes;) {
    const piece = pattern.subarray(0, Math.min(pattern.length, bytes - sent));
    sent += piece.length;
    if (!socket.write(piece)) await once(socket, "drain");
  }
  socket.end();
}

/** The hash of all that comes until the FIN. */
function sha256Of(peer: RawPeer): Promise<string> {
  const hash = createHash("sha256");
  peer.isKept = false;
  peer.onData = (_, chunk) => hash.update(chunk);
  return peer.wait("FIN", () => peer.isEnded).then(() => hash.digest("hex"));
}

async function metricLines(adminPort: number, name: string): Promise<string[]> {
  const { body } = await call({ port: adminPort, path: "/stats/prometheus" });
  return body.split("\n").filter((line) => line.startsWith(`${name}{`));
}

t.test("bytes go both ways, are counted while the connection is open, and one line is logged", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo });
  const client = connect(t, pair.port);
  client.write("hello");
  t.equal(await client.gets("hello"), "hello");
  for (const { ports } of [pair.web, pair.api]) {
    const [received = "", ...more] = await metricLines(ports.admin, "istio_tcp_received_bytes_total");
    t.same(more, []);
    t.match(received, /request_protocol="tcp"/);
    t.match(received, /source_workload="web"/);
    t.match(received, /destination_workload="api"/);
    t.match(received, / 5$/);
    t.match(await metricLines(ports.admin, "istio_tcp_sent_bytes_total"), [/ 5$/]);
    t.match(await metricLines(ports.admin, "istio_tcp_connections_opened_total"), [/ 1$/]);
    t.same(await metricLines(ports.admin, "istio_tcp_connections_closed_total"), [], "none is closed yet");
    t.same(await metricLines(ports.admin, "istio_requests_total"), [], "it is no HTTP request");
  }
  client.socket.end();
  await client.closed();
  t.equal(client.error, "", "closed cleanly");
  for (const sidecar of [pair.web, pair.api]) {
    await until(
      async () => (await metricLines(sidecar.ports.admin, "istio_tcp_connections_closed_total")).length > 0,
    );
    t.match(await metricLines(sidecar.ports.admin, "istio_tcp_connections_closed_total"), [
      /response_flags="-".* 1$/,
    ]);
    await sidecar.close();
    const log = await sidecar.accessLog();
    t.equal(log.length, 1);
    t.match(log[0], {
      method: null,
      response_code: 0,
      response_flags: "-",
      bytes_received: 5,
      bytes_sent: 5,
    });
  }
  const [line] = await pair.api.accessLog();
  t.equal(line?.["downstream_peer_uri_san"], "spiffe://mesh.local/ns/default/svc/web");
});

async function until(check: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 200 && !(await check()); n++) await new Promise((resolve) => setTimeout(resolve, 5));
}

t.test("64 MiB arrive as they were sent, both ways at once", async (t) => {
  const size = 64 * mib;
  let arrived: Promise<string> | undefined;
  const pair = await openTcpPair(t, {
    onConnection: (peer) => {
      arrived = sha256Of(peer);
      void sendPattern(peer, size);
    },
  });
  const client = connect(t, pair.port);
  const [received] = await Promise.all([sha256Of(client), sendPattern(client, size)]);
  t.equal(received, patternSha256(size), "down");
  t.equal(await arrived, patternSha256(size), "up");
});

t.test("a server that speaks first is heard within 50 ms", async (t) => {
  const pair = await openTcpPair(t, { onConnection: (peer) => peer.write("220 ready\r\n") });
  // Code is compiled.
  await connect(t, pair.port).gets("220 ready");
  const took: number[] = [];
  for (let n = 0; n < 5; n++) {
    const startMs = performance.now();
    await connect(t, pair.port).gets("220 ready");
    took.push(performance.now() - startMs);
  }
  const best = Math.min(...took);
  t.ok(best < 50, `${best.toFixed(1)} ms`);
});

t.test("half-close: what comes after the client's FIN arrives whole", async (t) => {
  const size = 10 * mib;
  const pair = await openTcpPair(t, {
    onConnection: (peer) => {
      peer.socket.once("end", () => void sendPattern(peer, size));
    },
  });
  const client = connect(t, pair.port);
  const hash = sha256Of(client);
  client.socket.end("query");
  t.equal(await hash, patternSha256(size));
  t.equal(pair.accepted[0]?.text, "query");
  await client.closed();
  t.equal(client.error, "");
});

t.test("half-close the other way: the server's FIN leaves the client free to send", async (t) => {
  const pair = await openTcpPair(t, { onConnection: (peer) => void peer.socket.end("bye") });
  const client = connect(t, pair.port);
  await client.wait("FIN", () => client.isEnded);
  t.equal(client.text, "bye");
  const [app] = pair.accepted;
  client.write("late");
  await app?.gets("late");
  client.socket.end();
  await app?.closed();
  t.equal(app?.error, "");
});

for (const when of ["at once", "with bytes under way", "after the other side's FIN"] as const) {
  t.test(`a client's reset reaches the application as a reset: ${when}`, async (t) => {
    const pair = await openTcpPair(t, {
      onConnection: (peer) => {
        if (when === "after the other side's FIN") peer.socket.end();
      },
    });
    const client = connect(t, pair.port);
    client.write("x");
    const app = await eventually("the application's connection", () => pair.accepted[0]);
    await app.gets("x");
    if (when === "after the other side's FIN") await client.wait("FIN", () => client.isEnded);
    if (when === "with bytes under way") client.write(Buffer.alloc(300_000));
    resetSocket(client.socket);
    await app.over();
    t.equal(app.error, "ECONNRESET");
  });

  t.test(`an application's reset reaches the client as a reset: ${when}`, async (t) => {
    const pair = await openTcpPair(t);
    const client = connect(t, pair.port);
    client.write("x");
    const app = await eventually("the application's connection", () => pair.accepted[0]);
    await app.gets("x");
    if (when === "after the other side's FIN") {
      client.socket.end();
      await app.wait("FIN", () => app.isEnded);
    }
    if (when === "with bytes under way") app.write(Buffer.alloc(300_000));
    resetSocket(app.socket);
    await client.over();
    t.equal(client.error, "ECONNRESET");
  });
}

t.test("an application that closes over unread bytes is still heard to the end", async (t) => {
  const pair = await openTcpPair(t, {
    onConnection: (peer) => {
      peer.socket.pause();
      peer.socket.end("refused: too many\n", () => setTimeout(() => peer.socket.destroy(), 20));
    },
  });
  const client = connect(t, pair.port);
  client.socket.write(Buffer.alloc(50_000));
  t.equal(await client.gets("too many\n"), "refused: too many\n");
  // The kernel resets what is sent to a closed socket.
  while (!client.isClosed) {
    client.socket.write("more");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await pair.web.close();
  const [line] = await pair.web.accessLog();
  t.not(line?.["response_flags"], "UR", "the endpoint is not blamed");
});

t.test("a slow reader stops the sender; nothing piles up", async (t) => {
  const pair = await openTcpPair(t);
  const client = connect(t, pair.port);
  const app = await eventually("the application's connection", () => pair.accepted[0]);
  app.socket.pause();
  let sent = 0;
  const piece = Buffer.alloc(mib);
  // Until the socket takes nothing for a while.
  for (;;) {
    client.socket.write(piece);
    sent += piece.length;
    const drained = await Promise.race([
      once(client.socket, "drain").then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 300)),
    ]);
    if (!drained) break;
    t.ok(sent < 200 * mib, "the sender is stopped at some time");
  }
  // Buffers of six kernel sockets, and a few slices of ours.
  t.ok(sent <= 40 * mib, `${sent / mib} MiB were taken`);
  app.isKept = false;
  app.socket.resume();
  await app.wait("all", () => app.size === sent);
});

t.test("an endpoint that refuses costs a retry, and is ejected", async (t) => {
  const dead = await freePort();
  const pair = await openTcpPair(t, {
    onConnection: echo,
    otherPorts: [dead],
    cluster: { loadBalancer: { policy: "round_robin", panicThresholdPercent: 0 } },
  });
  for (let n = 0; n < 30; n++) {
    const client = connect(t, pair.port);
    client.write("ping");
    await client.gets("ping");
    client.socket.end();
    await client.closed();
  }
  t.ok(
    pair.web.logged.some((line) => line.includes("breaker open") && line.includes(`:${dead}`)),
    "the breaker has opened",
  );
});

t.test("without any endpoint the connection is reset, and the reason is in log and metric", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo });
  await pair.api.close();
  const client = connect(t, pair.port);
  await client.over();
  t.equal(client.error, "ECONNRESET");
  t.equal(client.text, "", "no HTTP reply");
  const [closed = ""] = await metricLines(pair.web.ports.admin, "istio_tcp_connections_closed_total");
  t.match(closed, /response_flags="UF,URX"/);
  await pair.web.close();
  const [line] = await pair.web.accessLog();
  t.match(line, { response_code_details: "connect_failed", response_flags: "UF,URX" });
});

t.test(
  "an application that is down behind its sidecar: another is tried, and the dead one ejected",
  async (t) => {
    const dead = await openTcpPair(t);
    await dead.closeApp();
    const pair = await openTcpPair(t, {
      onConnection: echo,
      otherPorts: [dead.api.ports.inbound],
      cluster: { loadBalancer: { policy: "round_robin", panicThresholdPercent: 0 } },
    });
    for (let n = 0; n < 30; n++) {
      const client = connect(t, pair.port);
      client.write("ping");
      await client.gets("ping");
      client.socket.end();
      await client.closed();
    }
    t.ok(
      pair.web.logged.some(
        (line) => line.includes("breaker open") && line.includes(`:${dead.api.ports.inbound}`),
      ),
      "the breaker has opened",
    );
    const client = connect(t, dead.port);
    await client.over();
    t.equal(client.error, "ECONNRESET", "without another one the client is reset");
    await dead.web.close();
    const [line] = await dead.web.accessLog();
    t.match(line, { response_code_details: "connect_failed", response_flags: "UF,URX" });
    t.match(line?.["upstream_transport_failure_reason"], /the application behind its sidecar/);
  },
);

t.test("the look at our own certificate does not reach the application", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo });
  const target = { address: "127.0.0.1", port: pair.api.ports.inbound };
  const { ok } = await checkServed(target, await identityOf("api"), systemClock);
  t.equal(ok, false, "it is another one that is served");
  const client = connect(t, pair.port);
  client.write("x");
  await client.gets("x");
  t.equal(pair.accepted.length, 1, "only the one that was meant for it");
  t.same(await metricLines(pair.api.ports.admin, "remora_peer_refusals_total"), []);
});

t.test("resets of connections that stood do not eject the endpoint", async (t) => {
  const pair = await openTcpPair(t, {
    onConnection: (peer) => {
      peer.onData = () => resetSocket(peer.socket);
    },
    cluster: { loadBalancer: { policy: "round_robin", panicThresholdPercent: 0 } },
    otherPorts: [await freePort()],
  });
  for (let n = 0; n < 20; n++) {
    const client = connect(t, pair.port);
    client.write("QUIT");
    await client.over();
    t.equal(client.error, "ECONNRESET");
  }
  t.equal(pair.accepted.length, 20);
  t.notOk(
    pair.web.logged.some((line) => line.includes(`:${pair.api.ports.inbound}`)),
    "no breaker of it opened",
  );
});

t.test("a silent connection is reset after its time, a busy one is not", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo, cluster: { tunnelIdleMs: 700 } });
  const busy = connect(t, pair.port);
  const silent = connect(t, pair.port);
  silent.write("x");
  await silent.gets("x");
  const startMs = performance.now();
  while (!silent.isOver) {
    busy.write(".");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.ok(performance.now() - startMs > 600, "not before its time");
  t.equal(silent.error, "ECONNRESET");
  t.notOk(busy.isOver);
  await eventually("the application's end", () => pair.accepted.filter((peer) => peer.isClosed).length === 1);
  const [closed = ""] = await metricLines(pair.web.ports.admin, "istio_tcp_connections_closed_total");
  t.match(closed, /response_flags="SI"/);
});

t.test("the called sidecar resets who is silent for too long: its callers need not do it", async (t) => {
  const pair = await openTcpPair(t, {
    onConnection: echo,
    cluster: { tunnelIdleMs: 0 },
    inbound: { tunnelIdle: { idleMs: 700, source: "TrafficPolicy/default/api" } },
  });
  const busy = connect(t, pair.port);
  const silent = connect(t, pair.port);
  silent.write("x");
  await silent.gets("x");
  const startMs = performance.now();
  while (!silent.isOver) {
    busy.write(".");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.ok(performance.now() - startMs > 600, "not before its time");
  t.equal(silent.error, "ECONNRESET");
  t.notOk(busy.isOver);
  await eventually("the application's end", () => pair.accepted.filter((peer) => peer.isClosed).length === 1);
  const [closed = ""] = await metricLines(pair.api.ports.admin, "istio_tcp_connections_closed_total");
  t.match(closed, /reporter="destination".*response_flags="SI"/);
});

t.test("a service that speaks HTTP takes no raw TCP", async (t) => {
  const pair = await openTcpPair(t, { inbound: { protocol: "http" } });
  const client = connect(t, pair.port);
  await client.over();
  t.equal(client.error, "ECONNRESET");
  t.equal(pair.accepted.length, 0);
});

t.test("a mesh peer that is no sidecar of ours gets the bytes as they are", async (t) => {
  const pair = await openTcpPair(t, { onConnection: (peer) => void peer.socket.end("220 ready") });
  const peer = tls.connect({
    ...clientTlsOptions(await identityOf("consul")),
    host: "127.0.0.1",
    port: pair.api.ports.inbound,
  });
  t.teardown(() => peer.destroy());
  const chunks: Buffer[] = [];
  for await (const chunk of peer) chunks.push(chunk as Buffer);
  t.equal(Buffer.concat(chunks).toString(), "220 ready");
});

t.test("a connection outlives changes of the configuration, and drain waits for it", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo, drainTimeoutMs: 30_000 });
  const client = connect(t, pair.port);
  client.write("one");
  await client.gets("one");
  let isDrained = false;
  const drained = pair.api.drainInbound().then(() => (isDrained = true));
  client.write("two");
  await client.gets("onetwo");
  t.equal(isDrained, false);
  client.socket.end();
  await drained;
  await client.closed();
  t.equal(client.error, "");
});

t.test("what is left at the drain timeout is reset", async (t) => {
  const pair = await openTcpPair(t, { onConnection: echo, drainTimeoutMs: 50 });
  const client = connect(t, pair.port);
  client.write("one");
  await client.gets("one");
  await pair.api.drainInbound();
  await client.over();
  t.equal(client.error, "ECONNRESET");
});

t.test("PERMISSIVE: plaintext clients are greeted, whether they speak or wait", async (t) => {
  const pair = await openTcpPair(t, {
    onConnection: (peer) => {
      peer.write("hello ");
      echo(peer);
    },
    inbound: { mtlsMode: "PERMISSIVE" },
  });
  const silent = connect(t, pair.api.ports.inbound);
  await silent.gets("hello ");
  silent.write("silent");
  await silent.gets("hello silent");
  const eager = connect(t, pair.api.ports.inbound);
  eager.write("eager");
  await eager.gets("hello eager");
  const meshed = connect(t, pair.port);
  await meshed.gets("hello ");
});

t.test("STRICT: no byte without a certificate", async (t) => {
  const pair = await openTcpPair(t, { onConnection: (peer) => peer.write("hello") });
  const client = connect(t, pair.api.ports.inbound);
  client.write("give me your data\n");
  await client.over();
  t.notMatch(client.text, /hello/);
  t.equal(pair.accepted.length, 0);
});

t.test("a client that leaves while its endpoint is dialled ends the attempt", async (t) => {
  // Accepts, and never answers the handshake.
  let opened = 0;
  let closed = 0;
  const hole = await listen(t, (socket) => {
    opened++;
    socket.on("error", () => undefined).on("end", () => closed++);
    socket.resume();
  });
  const pair = await openTcpPair(t, { cluster: { connectTimeoutMs: 60_000 }, otherPorts: [hole.port] });
  const clients = Array.from({ length: 8 }, () => connect(t, pair.port));
  await eventually("dials that hang", () => opened > 0 && opened + pair.accepted.length === 8);
  for (const client of clients) resetSocket(client.socket);
  await eventually("all dials given up", () => closed === opened);
  await eventually("all connections over", () => pair.accepted.every((peer) => peer.isClosed));
  await pair.web.close();
  const log = await pair.web.accessLog();
  t.equal(log.length, 8);
  t.ok(
    log.every((line) => line["response_code_details"] === "client_gone"),
    "the client went",
  );
});
