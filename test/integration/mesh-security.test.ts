// # runs beside others
/** Real processes: strangers at the inbound port, impostors at an endpoint's address, and join tokens that are not good. */
import { readFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import tls from "node:tls";
import t from "tap";
import {
  createRootCa,
  generateKeyPem,
  issueLeaf,
  loadAuthority,
  publicKeySpki,
  readPrivateKey,
} from "../../certs/index.js";
import type { Authority } from "../../certs/index.js";
import { loadSvid } from "../../src/identity/svid-file.js";
import { metric, startMesh } from "../support/cli-mesh.js";
import { runRemora } from "../support/cli-process.js";
import { call } from "../support/http-load.js";
import { until } from "../support/until.js";

interface KeyPair {
  readonly key: string;
  readonly cert: string;
}

const mesh = await startMesh(t);
const [web, api, evil] = await Promise.all([
  mesh.join({ name: "web", service: "web", upstreams: ["api"] }),
  mesh.join({ name: "api", service: "api" }),
  mesh.join({ name: "evil", service: "evil" }),
]);
await mesh.untilKnown(web, "api", [api]);
const port = web.upstreams.get("api") ?? 0;

/** A leaf of `authority` for service web, as it was issued at `nowMs` for a minute. */
async function leaf(authority: Authority, nowMs: number): Promise<KeyPair> {
  const key = await generateKeyPem();
  const identity = { namespace: "default", service: "web" };
  const issued = issueLeaf(authority, {
    identity,
    publicKeySpki: publicKeySpki(readPrivateKey(key)),
    nowMs,
    ttlMs: 60_000,
  });
  return { key, cert: issued.certPem };
}

/** Sends a request to an inbound port and resolves with all that comes back until the connection ends. */
function knock(socket: net.Socket): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    socket.setEncoding("latin1").on("data", (text: string) => (received += text));
    socket.on("error", () => undefined);
    socket.once("close", () => resolve(received));
    socket.setTimeout(10_000, () => resolve(`nothing within 10 s: ${received}`));
    socket.write("GET /stranger HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\r\n");
  });
}

t.test("no byte of a stranger reaches the application, and a metric says why", async (t) => {
  const read = (file: string): Promise<string> => readFile(path.join(mesh.dataDir, "ca", file), "utf8");
  const root = loadAuthority(await read("root.crt"), await read("root.key"));
  const foreignPem = await createRootCa({ trustDomain: "mesh.local", nowMs: Date.now() });
  const foreign = loadAuthority(foreignPem.certPem, foreignPem.keyPem);
  const secure = (pair?: KeyPair): net.Socket =>
    tls.connect({ host: "127.0.0.1", port: api.inbound, rejectUnauthorized: false, ...pair });
  const strangers = [
    { name: "plaintext", reason: "handshake_failed", connect: () => net.connect(api.inbound, "127.0.0.1") },
    { name: "no certificate", reason: "no_certificate", connect: () => secure() },
    {
      name: "a certificate of another CA",
      reason: "unknown_issuer",
      connect: async () => secure(await leaf(foreign, Date.now())),
    },
    {
      name: "a certificate that has expired",
      reason: "expired",
      connect: async () => secure(await leaf(root, Date.now() - 3_600_000)),
    },
  ];
  const served = async (): Promise<string> => (await call({ port: api.app, path: "/count" })).body;
  const before = await served();
  for (const { name, reason, connect } of strangers) {
    const refusals = (): Promise<number> => metric(api.admin, "remora_peer_refusals_total", { reason });
    const known = await refusals();
    t.notMatch(await knock(await connect()), /HTTP|stranger/, `${name}: no answer`);
    t.equal(await refusals(), known + 1, `${name}: ${reason}`);
  }
  t.equal(await served(), before, "the application saw none of them");
  t.match(
    await knock(secure(await leaf(root, Date.now()))),
    /^HTTP\/1\.1 200 [^]*"caller":"spiffe:\/\/mesh\.local\/ns\/default\/svc\/web"/,
    "and a certificate of the mesh is let in",
  );
});

t.test("a join token is good once, in time, and for its service alone", async (t) => {
  const refused = async (name: string, tokenFile: string, expected: RegExp): Promise<void> => {
    const place = await mesh.place({ name, service: "shop", command: ["true"] });
    const args = place.args.map((arg, at) => (place.args[at - 1] === "--token-file" ? tokenFile : arg));
    const { code, err } = await runRemora({ args, env: place.env });
    t.equal(code, 1, name);
    t.match(err, expected);
    t.equal(err.trim().split("\n").length, 1, err);
    const secrets = (await readFile(tokenFile, "utf8"))
      .trim()
      .split(".")
      .filter((part) => part.length > 8);
    t.notOk(
      secrets.length === 0 || secrets.some((secret) => err.includes(secret)),
      "the token is not in the text",
    );
  };
  const once = await mesh.token("shop");
  const first = await mesh.place({ name: "shop-1", service: "shop", command: ["true"] });
  const args = first.args.map((arg, at) => (first.args[at - 1] === "--token-file" ? once : arg));
  t.equal((await runRemora({ args, env: first.env })).code, 0);
  await refused("shop-2", once, /^remora: .*token.*used/);
  await refused(
    "shop-3",
    await mesh.token("web"),
    /^remora: the join token is for .*svc\/web, not for .*svc\/shop/,
  );
  const createdMs = Date.now();
  const brief = await mesh.token("shop", { ttl: "1s" });
  await until("the token's end", () => Date.now() > createdMs + 3000);
  await refused("shop-4", brief, /^remora: .*token.*expired/);
});

t.test("a document says whom callers of a service believe", async (t) => {
  const believe = (service: string): Promise<void> =>
    mesh.apply(`
apiVersion: remora.mesh/v1
kind: TrafficPolicy
metadata: { name: api }
spec:
  targetRefs: [{ kind: Service, name: api }]
  mtls: { mode: STRICT, peerIdentity: ["spiffe://mesh.local/ns/default/svc/${service}"] }
`);
  t.match(await call({ port }), { status: 200 });
  await believe("evil");
  await until(
    "api itself is refused",
    async () => (await call({ port })).error === "upstream_identity_mismatch",
  );
  await believe("api");
  await until("and believed again", async () => (await call({ port })).status === 200);
});

t.test("row 56: a caller talks to nobody but the service it meant", async (t) => {
  // The registry's last word stays in force while somebody else takes the address.
  await mesh.controlPlaneProcess?.stop();
  await api.process.kill();
  const svid = await loadSvid(evil.stateDir);
  const bytes: string[] = [];
  const impostor = tls.createServer(
    {
      key: svid?.keyPem,
      cert: svid?.certChainPem,
      ca: svid?.bundlePem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (data) => void bytes.push(data.toString("latin1")));
    },
  );
  await new Promise<void>((resolve) => impostor.listen(api.inbound, "127.0.0.1", resolve));
  const answer = await call({ port, method: "POST", path: "/secret", body: "secret" });
  t.match(answer, { status: 502, error: "upstream_identity_mismatch" });
  t.match(answer.body, /wrong_identity, expected spiffe:\/\/mesh\.local\/ns\/default\/svc\/api/);
  t.same(bytes, [], "the impostor got nothing");
  await new Promise((resolve) => impostor.close(resolve));

  const plain = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => void bytes.push(data.toString("latin1")));
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  });
  await new Promise<void>((resolve) => plain.listen(api.inbound, "127.0.0.1", resolve));
  const bare = await call({ port, method: "POST", path: "/secret", body: "secret" });
  t.match(bare, { status: 502, error: "upstream_tls_failed" });
  t.notMatch(bytes.join(""), /secret/);
  await new Promise((resolve) => plain.close(resolve));
});
