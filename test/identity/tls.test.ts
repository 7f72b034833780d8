/** Identity on real TLS sockets: who is let in, who is not, and rotation under open connections. */
import { once } from "node:events";
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { connect, createServer, type ConnectionOptions, type TlsOptions } from "node:tls";
import t, { type Test } from "tap";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import type { Svid } from "../../src/identity/svid.js";
import { checkServed } from "../../src/identity/served-check.js";
import { trustOfSvid } from "../../src/identity/mesh-trust.js";
import { clientTlsOptions, followRotation, serverTlsOptions } from "../../src/identity/tls-options.js";
import {
  handshakeRefusal,
  peerIdentity,
  verifyPeer,
  type PeerVerdict,
} from "../../src/identity/verify-peer.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { systemClock } from "../../src/time/clock.js";
import { FakeClock } from "../support/fake-clock.js";
import {
  makeCertificate,
  makeRoot,
  serverAuthHex,
  uri,
  type CertificateShape,
  type Made,
} from "../support/make-certificate.js";

/** node:tls reads the real clock. */
const nowMs = Date.now();
const life = { notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + 3_600_000 };
const root = makeRoot(life);
const trustDomain = "remora.local";
const idOf = (service: string): string => `spiffe://${trustDomain}/ns/default/svc/${service}`;

function leaf(service: string, shape: CertificateShape = {}): Made {
  return makeCertificate({ ...life, issuer: root, subject: service, names: [uri(idOf(service))], ...shape });
}

function svid(service: string, shape: CertificateShape = {}): Svid {
  const { pem, keyPem } = leaf(service, shape);
  return assembleSvid({ certChainPem: pem, keyPem, bundlePem: root.pem });
}

/** A mesh listener that answers each line with the peer's identity as it sees it. */
async function listen(t: Test, own: Svid, over: TlsOptions = {}) {
  const refusals: (string | undefined)[] = [];
  const server = createServer({ ...serverTlsOptions(own), ALPNProtocols: ["h2", "http/1.1"], ...over });
  const open = new Set<TLSSocket>();
  server.on("secureConnection", (socket) => {
    open.add(socket);
    const peer = peerIdentity(socket);
    socket.on("error", () => undefined);
    socket.on("data", () => socket.write(peer.ok ? peer.id : `refused ${peer.reason}`));
  });
  server.on("tlsClientError", (error, socket) => refusals.push(handshakeRefusal(error, socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port, refusals };
}

async function dial(t: Test, port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({ host: "127.0.0.1", port, ALPNProtocols: ["h2"], ...options });
  t.teardown(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

/** One round trip: the answer, or the error that ended it. In TLS 1.3 a client learns of its refusal only now. */
async function ask(socket: TLSSocket): Promise<string> {
  return new Promise((resolve) => {
    const done = (answer: string): void => {
      socket.off("data", onData).off("error", onError).off("close", onClose);
      resolve(answer);
    };
    const onData = (data: Buffer): void => done(data.toString());
    const onError = (error: NodeJS.ErrnoException): void => done(error.code ?? error.message);
    const onClose = (): void => done("closed");
    socket.on("data", onData).on("error", onError).on("close", onClose);
    socket.write("?");
  });
}

t.test("two services see each other's exact identity", async (t) => {
  const { port } = await listen(t, svid("api"));
  const socket = await dial(t, port, clientTlsOptions(svid("web")));
  t.equal(socket.getProtocol(), "TLSv1.3");
  t.equal(socket.alpnProtocol, "h2");
  t.equal(socket.getCipher().standardName, "TLS_AES_128_GCM_SHA256");
  t.equal(await ask(socket), idOf("web"));
  const trust = trustOfSvid(svid("web"));
  const check = (allowed?: readonly string[], believed = trust): PeerVerdict =>
    verifyPeer(socket, allowed, believed);
  t.match(check([idOf("x"), idOf("api")]), { ok: true, id: idOf("api"), trustDomain });
  t.match(check(), { ok: true, id: idOf("api") });
  t.same(check([]), { ok: false, reason: "wrong_identity" });
  t.same(check([idOf("ap"), idOf("api2"), idOf("API"), "*", idOf("*")]), {
    ok: false,
    reason: "wrong_identity",
  });
  const bundles = new Map([["remora.loca", root.pem]]);
  t.same(check(undefined, { ...trust, bundles }), { ok: false, reason: "wrong_trust_domain" });
});

t.test("a dialler refuses the valid certificate of another service", async (t) => {
  const { port } = await listen(t, svid("evil"));
  const socket = await dial(t, port, clientTlsOptions(svid("web")));
  t.same(verifyPeer(socket, [idOf("api")], trustOfSvid(svid("web"))), {
    ok: false,
    reason: "wrong_identity",
  });
});

t.test("the listener refuses peers that TLS can judge, with the reason", async (t) => {
  const own = svid("api");
  const stranger = makeRoot({ ...life, subject: "stranger" });
  const raw = ({ pem, keyPem }: Made): ConnectionOptions => ({
    cert: pem,
    key: keyPem,
    ca: root.pem,
    checkServerIdentity: () => undefined,
  });
  const cases: readonly (readonly [string, ConnectionOptions, string])[] = [
    ["no certificate", { ca: root.pem, checkServerIdentity: () => undefined }, "no_certificate"],
    ["self-signed", raw(leaf("web", { issuer: undefined as never })), "self_signed"],
    ["another root", raw(leaf("web", { issuer: stranger })), "unknown_issuer"],
    ["expired", raw(leaf("web", { notAfterMs: nowMs - 5000 })), "expired"],
    ["not yet valid", raw(leaf("web", { notBeforeMs: nowMs + 60_000 })), "not_yet_valid"],
    [
      "only serverAuth",
      raw(leaf("web", { extendedKeyUsageHex: [serverAuthHex] })),
      "wrong_extended_key_usage",
    ],
  ];
  for (const [what, options, reason] of cases) {
    const { port, refusals, server } = await listen(t, own);
    const refused = once(server, "tlsClientError");
    const answer = await ask(await dial(t, port, options));
    t.notMatch(answer, /^spiffe:/, `${what}: no byte is served`);
    await refused;
    t.same(refusals, [reason], what);
  }
});

t.test("the listener refuses peers that only the SVID rules can judge", async (t) => {
  const { port } = await listen(t, svid("api"));
  const cases: readonly (readonly [string, CertificateShape, string])[] = [
    ["no URI", { names: [] }, "no_uri_san"],
    ["two URIs", { names: [uri(idOf("web")), uri(idOf("admin"))] }, "several_uri_sans"],
    ["text in a DNS name", { names: [[0x82, `x, URI:${idOf("web")}`]] }, "no_uri_san"],
    ["NUL", { names: [uri(`${idOf("web")}\0.evil`)] }, "bad_path"],
  ];
  for (const [what, shape, reason] of cases) {
    const { pem, keyPem } = leaf("web", shape);
    const socket = await dial(t, port, {
      cert: pem,
      key: keyPem,
      ca: root.pem,
      checkServerIdentity: () => undefined,
    });
    t.equal(await ask(socket), `refused ${reason}`, what);
  }
});

t.test("plaintext, garbage and old TLS get nothing and harm nobody", async (t) => {
  const { port } = await listen(t, svid("api"));
  for (const bytes of ["GET / HTTP/1.1\r\n\r\n", "\0".repeat(100), "\x16\x03\x01\xff\xff"]) {
    const socket = connectTcp(port, "127.0.0.1");
    let received = "";
    socket.on("data", (data) => (received += data.toString("latin1")));
    socket.on("error", () => undefined);
    socket.end(bytes, "latin1");
    await once(socket, "close");
    t.notMatch(received, /spiffe|HTTP/, JSON.stringify(bytes.slice(0, 8)));
  }
  const { pem, keyPem } = leaf("web");
  const old = connect({
    host: "127.0.0.1",
    port,
    cert: pem,
    key: keyPem,
    ca: root.pem,
    maxVersion: "TLSv1.2",
    rejectUnauthorized: false,
  });
  const [error] = (await once(old, "error")) as [NodeJS.ErrnoException];
  t.match(error.code, /PROTOCOL_VERSION/);
  t.equal(await ask(await dial(t, port, clientTlsOptions(svid("web")))), idOf("web"), "and it still serves");
});

t.test("the dialler refuses a listener outside its bundle", async (t) => {
  const stranger = makeRoot({ ...life, subject: "stranger" });
  const { pem, keyPem } = leaf("api", { issuer: stranger });
  const { port } = await listen(t, assembleSvid({ certChainPem: pem, keyPem, bundlePem: root.pem }));
  const error: unknown = await dial(t, port, clientTlsOptions(svid("web"))).catch(
    (failure: unknown) => failure,
  );
  t.equal(handshakeRefusal(error), "unknown_issuer");
});

t.test("a session is never resumed", async (t) => {
  const { port } = await listen(t, svid("api"));
  const options = clientTlsOptions(svid("web"));
  const first = await dial(t, port, options);
  let session: Buffer | undefined;
  first.on("session", (ticket) => (session = ticket));
  await ask(first);
  const second = await dial(t, port, session === undefined ? options : { ...options, session });
  t.equal(second.isSessionReused(), false);
  t.equal(await ask(second), idOf("web"));
});

t.test("a resumed or unauthorised socket has no identity", async (t) => {
  // A listener that others set up: it asks for a certificate, takes any, and resumes.
  const { port } = await listen(t, svid("api"), { rejectUnauthorized: false, secureOptions: 0 });
  t.equal(
    await ask(await dial(t, port, { ca: root.pem, checkServerIdentity: () => undefined })),
    "refused unauthorized",
  );
  const { pem, keyPem } = leaf("web");
  const options = { cert: pem, key: keyPem, ca: root.pem, checkServerIdentity: () => undefined };
  const first = await dial(t, port, options);
  const ticket = once(first, "session") as Promise<[Buffer]>;
  t.equal(await ask(first), idOf("web"));
  const [session] = await ticket;
  const second = await dial(t, port, { ...options, session });
  t.equal(second.isSessionReused(), true, "the ground of this test");
  t.match(await ask(second), /^refused resumed_session$/);
  t.match(peerIdentity(second), { ok: false, reason: "resumed_session" });
});

t.test("rotation serves the new leaf at once and keeps open connections", async (t) => {
  const source = new LatestValue<Svid | undefined>(svid("api"));
  const { server, port } = await listen(t, source.get() ?? svid("api"));
  const errors: unknown[] = [];
  const stop = followRotation(server, source, (error) => errors.push(error));
  const client = clientTlsOptions(svid("web"));
  const serialOf = (socket: TLSSocket): string => socket.getPeerCertificate().fingerprint256;
  const sockets: TLSSocket[] = [];
  for (let round = 0; round < 20; round++) {
    // A handshake is under way while the context is replaced.
    const racing = dial(t, port, client);
    source.set(svid("api"));
    sockets.push(await racing, await dial(t, port, client));
    t.same(
      await Promise.all(sockets.map((socket) => ask(socket))),
      sockets.map(() => idOf("web")),
      `round ${round}`,
    );
  }
  t.ok(new Set(sockets.map(serialOf)).size >= 20, "each rotation was really served");
  source.set({ ...svid("api"), keyPem: "damaged" });
  t.equal(errors.length, 1, "an unusable identity is reported");
  t.equal(await ask(await dial(t, port, client)), idOf("web"), "and the last good one stays");
  stop();
  const last = serialOf(await dial(t, port, client));
  source.set(svid("api"));
  t.equal(serialOf(await dial(t, port, client)), last, "no longer followed");
});

t.test("one secure context per identity", async (t) => {
  const own = svid("web");
  t.equal(clientTlsOptions(own).secureContext, clientTlsOptions(own).secureContext);
  t.not(clientTlsOptions(own).secureContext, clientTlsOptions(svid("web")).secureContext);
});

t.test("the served certificate is checked from outside", async (t) => {
  const [old, fresh] = [svid("api"), svid("api")];
  const { server, port } = await listen(t, old);
  const target = { address: "127.0.0.1", port };
  t.same(await checkServed(target, old, systemClock), { ok: true });
  t.match(await checkServed(target, fresh, systemClock), { ok: false, detail: /another certificate/ });
  server.setSecureContext(serverTlsOptions(fresh));
  t.same(await checkServed(target, fresh, systemClock), { ok: true });
  const stranger = makeRoot({ ...life, subject: "stranger" });
  const foreign = { ...fresh, bundlePem: stranger.pem };
  t.match(await checkServed(target, foreign, systemClock), {
    ok: false,
    detail: /self-signed certificate in/,
  });
  const silent = createTcpServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.teardown(() => silent.close());
  const clock = new FakeClock();
  const hanging = checkServed({ ...target, port: (silent.address() as AddressInfo).port }, fresh, clock);
  clock.advance(5000);
  t.same(await hanging, { ok: false, detail: "no handshake within 5s" });
});
