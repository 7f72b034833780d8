// # runs beside others
/** Real processes under attack: every wrong certificate at the inbound port, at the control plane, and shown to a caller. */
import { readFile, readdir } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import t from "tap";
import { splitPemCertificates } from "../../certs/bundle.js";
import { loadAuthority } from "../../certs/authority.js";
import { startMesh, type Running } from "../support/cli-mesh.js";
import { call } from "../support/http-load.js";
import type { Made } from "../support/make-certificate.js";
import { opensslLeaves } from "../support/openssl-leaves.js";
import { until } from "../support/until.js";
import { rightLeaf, wrongLeaves, type LeafTable } from "../support/wrong-leaves.js";

/** One attempt, from the first packet to the end of the connection; honest refusals take milliseconds. */
const boundMs = 8000;
const mesh = await startMesh(t);
/** What an application gets that must get nothing. */
const captured: Buffer[] = [];

/** A sidecar whose application is this process, and notes every byte. */
async function sidecarBefore(service: string): Promise<Running> {
  const place = await mesh.place({ name: service, service, command: [] });
  const app = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      captured.push(chunk);
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
  });
  await new Promise<void>((resolve) => app.listen(place.app, "127.0.0.1", resolve));
  t.teardown(() => app.close());
  const process = mesh.run(place);
  await until(
    `${service} is ready`,
    async () => (await call({ port: place.admin, path: "/ready" })).status === 200,
  );
  return { ...place, process };
}

const api = await sidecarBefore("api");
const table: LeafTable = {
  root: await meshRoot(),
  trustDomain: "mesh.local",
  service: "web",
  nowMs: Date.now(),
};
const byOpenssl = opensslLeaves({
  dir: path.join(mesh.dir, "openssl"),
  rootPem: table.root.pem,
  rootKeyPem: table.root.keyPem,
  id: "spiffe://mesh.local/ns/default/svc/web",
  nowMs: table.nowMs,
});
const wrong = [...wrongLeaves(table), ...byOpenssl.wrong];

/** The CA that signs in this mesh: an attacker never has it, but only so is each mistake the only one. */
async function meshRoot(): Promise<Made> {
  const read = (file: string): Promise<string> => readFile(path.join(mesh.dataDir, "ca", file), "utf8");
  const [pem, keyPem] = [await read("root.crt"), await read("root.key")];
  const { key, certificate } = loadAuthority(pem, keyPem);
  const [der = Buffer.alloc(0)] = splitPemCertificates(pem);
  return { pem, keyPem, key, der, subject: certificate.subjectCommonName ?? "" };
}

/** Says something over a connection, and resolves with all that comes back until it ends. */
function knock(socket: net.Socket, text = "GET /stranger HTTP/1.1\r\nhost: api\r\n\r\n"): Promise<Buffer> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(Buffer.concat([...received, Buffer.from(`still open after ${boundMs} ms`)]));
    }, boundMs);
    socket.on("data", (chunk: Buffer) => received.push(chunk));
    socket.on("error", () => undefined);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(received));
    });
    socket.write(text, "latin1");
  });
}

function secure(port: number, options: tls.ConnectionOptions): tls.TLSSocket {
  return tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
}

/** Refusals of peers so far, by reason. */
async function refusals(): Promise<Counts> {
  const { body } = await call({ port: api.admin, path: "/stats/prometheus" });
  return countsOf(body, /^remora_peer_refusals_total\{.*?reason="([^"]*)".*\} (\d+)$/gm);
}

type Counts = ReadonlyMap<string, number>;

function countsOf(metrics: string, line: RegExp): Counts {
  return new Map([...metrics.matchAll(line)].map(([, reason = "", count]) => [reason, Number(count)]));
}

/** What was counted since `before`, as `reason count`. */
function since(before: Counts, now: Counts): readonly string[] {
  const counts = [...now].map(([reason, count]) => [reason, count - (before.get(reason) ?? 0)] as const);
  return counts.filter(([, count]) => count > 0).map(([reason, count]) => `${reason} ${count}`);
}

/** The same at the control plane. */
async function controlPlaneRefusals(): Promise<Counts> {
  const { body } = await call({ port: mesh.adminPort, path: "/metrics" });
  return countsOf(body, /^remora_cp_connections_refused_total\{reason="([^"]*)"\} (\d+)$/gm);
}

async function isAlive(sidecar: Running): Promise<boolean> {
  return sidecar.process.isRunning && (await call({ port: sidecar.admin, path: "/ready" })).status === 200;
}

t.test("rows 54, 55, 57, 58: no wrong certificate gets one byte to the application", async (t) => {
  const own = rightLeaf(table);
  for (const { cert, key } of [{ cert: own.pem, key: own.keyPem }, byOpenssl.right]) {
    const socket = secure(api.inbound, { cert, key });
    socket.once("data", () => socket.end());
    t.match((await knock(socket)).toString(), /^HTTP\/1\.1 200 /, "a right one is let in, the ground of all");
  }
  t.ok(captured.splice(0).length > 0);
  for (const { name, reason, cert, key } of wrong) {
    const before = await refusals();
    const startMs = performance.now();
    const received = await knock(secure(api.inbound, { cert, key }));
    t.equal(received.length, 0, `${name}: nothing comes back`);
    t.ok(performance.now() - startMs < boundMs, `${name}: in bounded time`);
    t.same(since(before, await refusals()), [`${reason} 1`], `${name}: refused as ${reason}`);
    t.equal(Buffer.concat(captured).length, 0, `${name}: not one application byte passed`);
    captured.splice(0);
  }
  t.ok(await isAlive(api));
});

t.test("row 59: what is no TLS, or odd TLS, gets nothing and harms nobody", async (t) => {
  const { pem: cert, keyPem: key } = rightLeaf(table);
  const plain = (): net.Socket => net.connect(api.inbound, "127.0.0.1");
  const bytes = [
    ["plaintext HTTP", "GET /stranger HTTP/1.1\r\nhost: api\r\n\r\n"],
    ["HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["zeros", "\0".repeat(4096)],
    ["a record that is too long", "\x16\x03\x01\xff\xff" + "x".repeat(70_000)],
    ["a record of length 0", "\x16\x03\x01\x00\x00"],
    ["an alert first", "\x15\x03\x03\x00\x02\x02\x28"],
    ["application data first", "\x17\x03\x03\x00\x05hello"],
    ["SSLv2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"],
  ] as const;
  for (const [name, text] of bytes) {
    const socket = plain();
    socket.once("connect", () => socket.end());
    const received = (await knock(socket, text)).toString("latin1");
    t.notMatch(received, /HTTP|ok/, `${name}: no answer`);
    t.equal(Buffer.concat(captured).length, 0, `${name}: not one application byte passed`);
  }
  const before = await refusals();
  t.equal((await knock(secure(api.inbound, {}))).length, 0);
  t.same(since(before, await refusals()), ["no_certificate 1"], "no certificate: refused as no_certificate");
  t.equal((await knock(secure(api.inbound, { cert, key, maxVersion: "TLSv1.2" }))).length, 0, "TLS 1.2");
  t.equal((await knock(secure(api.inbound, { cert, key, ALPNProtocols: ["x"] }))).length, 0, "foreign ALPN");
  t.equal(Buffer.concat(captured).length, 0, "not one application byte passed");
  for (const servername of ["WEB.Default", "a".repeat(255), "xn--", "..", "served-check.invalid.x", "*"]) {
    const socket = secure(api.inbound, { cert, key, servername });
    socket.once("data", () => socket.end());
    t.match(
      (await knock(socket)).toString(),
      /^HTTP\/1\.1 200 /,
      `SNI ${servername.slice(0, 20)} decides nothing`,
    );
  }
  captured.splice(0);
  t.ok(await isAlive(api));
});

t.test("row 59: thousands of handshakes with client certificates leave nothing behind", async (t) => {
  const { pem: cert, keyPem: key } = rightLeaf(table);
  const [bad] = wrong;
  const descriptors = async (): Promise<number> => (await readdir(`/proc/${api.process.pid}/fd`)).length;
  const before = await descriptors();
  const attempt = (number: number): Promise<void> =>
    new Promise((resolve) => {
      const way = number % 4;
      const socket = secure(
        api.inbound,
        way === 0 ? { cert: bad?.cert ?? "", key: bad?.key ?? "" } : { cert, key },
      );
      socket.on("error", () => undefined).once("close", () => resolve());
      // In the middle of the handshake, after it, or once the listener has closed.
      if (way === 1) socket.once("connect", () => socket.destroy());
      else if (way !== 0) socket.once("secureConnect", () => (way === 2 ? socket.destroy() : socket.end()));
      else socket.resume();
    });
  let next = 0;
  const total = 2000;
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      while (next < total) await attempt(next++);
    }),
  );
  await until("the descriptors are given back", async () => (await descriptors()) <= before + 5);
  t.equal(Buffer.concat(captured).length, 0, "not one application byte passed");
  t.ok(await isAlive(api));
});

t.test("rows 54, 55, 57, 58 at the control plane: refused before the first HTTP/2 byte", async (t) => {
  const [, port = 0] = mesh.controlPlane.split(":").map(Number);
  for (const { name, reason, cert, key } of wrong) {
    const before = await controlPlaneRefusals();
    const received = await knock(
      secure(port, { cert, key, ALPNProtocols: ["h2"] }),
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    );
    t.equal(received.length, 0, `${name}: nothing comes back`);
    // Who has no certificate may join, so the handshake is not what fails, unless the chain is too long for it: TLS has something against
    // it that node has no name for.
    const told = reason === "handshake_failed" && !name.startsWith("58 ") ? "unauthorized" : reason;
    t.same(since(before, await controlPlaneRefusals()), [`${told} 1`], `${name}: refused as ${told}`);
  }
  t.ok(mesh.controlPlaneProcess?.isRunning);
  t.equal((await call({ port: mesh.adminPort, path: "/ready" })).status, 200);
});

t.test(
  "rows 54, 55, 56, 57, 58 the other way: a caller sends no byte to an endpoint with a wrong certificate",
  async (t) => {
    const web = await mesh.join({ name: "web", service: "web", upstreams: ["api"] });
    await mesh.untilKnown(web, "api", [api]);
    // The registry's last word stays in force while somebody else takes the address.
    await mesh.controlPlaneProcess?.stop();
    await api.process.kill();
    const bytes: Buffer[] = [];
    const sockets = new Set<net.Socket>();
    let handshakes = 0;
    const impostor = tls.createServer({
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2", "http/1.1"],
    });
    impostor.on("secureConnection", (socket) => {
      sockets.add(socket);
      socket.on("error", () => undefined).once("close", () => sockets.delete(socket));
      socket.on("data", (chunk) => bytes.push(chunk));
    });
    impostor.on("connection", () => void handshakes++);
    impostor.on("tlsClientError", () => undefined);
    await new Promise<void>((resolve) => impostor.listen(api.inbound, "127.0.0.1", resolve));
    t.teardown(() => impostor.close());
    const port = web.upstreams.get("api") ?? 0;
    const asApi: LeafTable = { ...table, service: "api" };
    const another = rightLeaf({ ...table, service: "evil" });
    const shown = [
      { name: "56 the right certificate of another service", cert: another.pem, key: another.keyPem },
      ...wrongLeaves(asApi).filter(({ reason }) => reason !== "handshake_failed"),
    ];
    for (const { name, cert, key } of shown) {
      impostor.setSecureContext({ cert, key, minVersion: "TLSv1.3" });
      const known = handshakes;
      const answer = await call({ port, method: "POST", path: "/secret", body: "secret" });
      t.match(
        answer,
        { status: 502, error: /^(upstream_tls_failed|upstream_identity_mismatch|connect_timeout)$/ },
        name,
      );
      t.ok(handshakes > known, `${name}: it was tried`);
      t.equal(Buffer.concat(bytes).length, 0, `${name}: not one byte was sent`);
    }
    const { pem, keyPem } = rightLeaf(asApi);
    impostor.setSecureContext({ cert: pem, key: keyPem, minVersion: "TLSv1.3" });
    void call({ port, path: "/" }).catch(() => undefined);
    await until("bytes for who proves to be api, the ground of this table", () => bytes.length > 0);
    for (const socket of sockets) socket.destroy();
  },
);
