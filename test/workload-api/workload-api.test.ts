/** The Workload API over a real socket, called by a client that was generated from the standard's messages. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { status } from "@grpc/grpc-js";
import t, { type Test } from "tap";
import { splitPemCertificates } from "../../certs/bundle.js";
import { jwkSetText, jwtKeyOf } from "../../certs/jwk.js";
import { signJwtSvid } from "../../certs/jwt-svid.js";
import { generateKeyPem, readPrivateKey } from "../../certs/keys.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { WorkloadTrust } from "../../src/workload-api/answers.js";
import { listenLocally } from "../../src/workload-api/local-socket.js";
import { openWorkloadApi } from "../../src/workload-api/workload-api.js";
import { FakeClock } from "../support/fake-clock.js";
import { makeCertificate, makeRoot, middayMs, uri } from "../support/make-certificate.js";
import { firstOf, WorkloadClient, type X509SvidUpdate } from "../support/workload-client.js";

const web = "spiffe://remora.local/ns/default/svc/web";
const root = makeRoot();
const otherRoot = makeRoot({ names: [uri("spiffe://other.mesh")] });
const second = makeRoot({ subject: "second" });

function newSvid(): Svid {
  const { pem, keyPem } = makeCertificate({ issuer: root, names: [uri(web)] });
  return assembleSvid({ certChainPem: pem, keyPem, bundlePem: root.pem });
}

const signer = jwtKeyOf(readPrivateKey(await generateKeyPem()));
const ownTrust: WorkloadTrust = {
  bundles: new Map([["remora.local", root.pem]]),
  jwtKeys: new Map([["remora.local", jwkSetText([signer])]]),
};

/** Paths of sockets are short. */
function shortFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), "remora-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function open(
  t: Test,
  fetchJwt = (audience: readonly string[]) => Promise.resolve(audience.join("+")),
) {
  const socketPath = path.join(shortFolder(t), "new", "workload.sock");
  const certificates = new LatestValue<Svid | undefined>(newSvid());
  const trust = new LatestValue<WorkloadTrust>(ownTrust);
  const clock = new FakeClock(middayMs);
  const api = await openWorkloadApi({ socketPath, certificates, trust, fetchJwt, clock });
  t.teardown(() => api.close());
  const client = new WorkloadClient(socketPath);
  t.teardown(() => client.close());
  return { socketPath, certificates, trust, clock, api, client };
}

const codeOf = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => "answered",
    (error: unknown) => (error as { readonly code?: unknown }).code,
  );

t.test("the identity comes at once and again with each change, complete", async (t) => {
  const { client, certificates, trust } = await open(t);
  const stream = client.x509Svids();
  const updates = stream[Symbol.asyncIterator]();
  const next = async (): Promise<X509SvidUpdate> => {
    const { value } = await updates.next();
    return value as X509SvidUpdate;
  };
  const first = await next();
  const [own] = first.svids;
  t.equal(own?.spiffe_id, web);
  const leaf = new X509Certificate(own?.x509_svid ?? "");
  t.equal(leaf.subjectAltName, `URI:${web}`);
  const key = createPrivateKey({ key: own?.x509_svid_key ?? "", format: "der", type: "pkcs8" });
  t.ok(leaf.checkPrivateKey(key), "the key is the leaf's");
  t.ok(own?.bundle.equals(root.der));
  t.same(first.federated_bundles, {});

  const renewed = newSvid();
  certificates.set(renewed);
  const afterRenewal = await next();
  t.ok(afterRenewal.svids[0]?.x509_svid.equals(splitPemCertificates(renewed.certChainPem)[0] ?? root.der));

  trust.set({ ...ownTrust, jwtKeys: new Map() });
  trust.set({
    ...ownTrust,
    bundles: new Map([
      ["remora.local", root.pem + second.pem],
      ["other.mesh", otherRoot.pem],
    ]),
  });
  const afterTrust = await next();
  t.ok(
    afterTrust.svids[0]?.bundle.equals(Buffer.concat([root.der, second.der])),
    "two roots, one after the other",
  );
  t.same(Object.keys(afterTrust.federated_bundles), ["spiffe://other.mesh"]);
  t.ok(afterTrust.federated_bundles["spiffe://other.mesh"]?.equals(otherRoot.der), "never merged with ours");
  stream.on("error", () => undefined);
  stream.cancel();
});

t.test("bundles by trust domain", async (t) => {
  const { client, trust } = await open(t);
  const x509 = await firstOf(client.x509Bundles());
  t.same(x509.bundles, { "spiffe://remora.local": root.der });
  const jwt = await firstOf(client.jwtBundles());
  t.same(JSON.parse(String(jwt.bundles["spiffe://remora.local"])), { keys: [signer.jwk] });
  trust.set({ bundles: new Map(), jwtKeys: new Map() });
  t.same(
    Object.keys((await firstOf(client.x509Bundles())).bundles),
    ["spiffe://remora.local"],
    "ours at least",
  );
  t.same(Object.keys((await firstOf(client.jwtBundles())).bundles), ["spiffe://remora.local"]);
});

t.test("calls without the security header get nothing", async (t) => {
  const { socketPath } = await open(t);
  for (const headers of [
    {},
    { "workload.spiffe.io": "True" },
    { "workload.spiffe.io": "" },
    { other: "true" },
  ]) {
    const stranger = new WorkloadClient(socketPath, headers as Readonly<Record<string, string>>);
    t.equal(await codeOf(firstOf(stranger.x509Svids())), status.INVALID_ARGUMENT);
    t.equal(await codeOf(firstOf(stranger.jwtBundles())), status.INVALID_ARGUMENT);
    t.equal(await codeOf(stranger.jwtSvids(["a"])), status.INVALID_ARGUMENT);
    stranger.close();
  }
});

t.test("without an identity in force", async (t) => {
  const { client, certificates, clock } = await open(t);
  clock.advance(48 * 3_600_000);
  t.equal(await codeOf(firstOf(client.x509Svids())), status.UNAVAILABLE, "it has expired");
  t.equal(await codeOf(client.jwtSvids(["a"])), status.UNAVAILABLE);
  certificates.set(undefined);
  t.equal(await codeOf(firstOf(client.x509Svids())), status.PERMISSION_DENIED, "there is none");
});

t.test("JWT-SVIDs", async (t) => {
  const { client } = await open(t);
  t.same([...(await client.jwtSvids(["a", "b"]))], [[web, "a+b"]]);
  t.same([...(await client.jwtSvids(["a"], web))], [[web, "a"]]);
  t.equal(await codeOf(client.jwtSvids(["a"], `${web}2`)), status.PERMISSION_DENIED, "somebody else's");
  for (const audience of [[], [""], ["a", ""], ["x".repeat(1025)], Array.from({ length: 17 }, String)])
    t.equal(await codeOf(client.jwtSvids(audience)), status.INVALID_ARGUMENT);
  const down = await open(t, () => Promise.reject(new Error("no connection")));
  t.equal(await codeOf(down.client.jwtSvids(["a"])), status.UNAVAILABLE);
});

t.test("tokens are validated with the bundle of their own trust domain", async (t) => {
  const { client } = await open(t);
  const keyPem = await generateKeyPem();
  const stranger = jwtKeyOf(readPrivateKey(keyPem));
  const sign = (id: string): string =>
    signJwtSvid(
      { kid: stranger.kid, key: readPrivateKey(keyPem) },
      { id, audience: ["reports"], nowMs: middayMs, ttlMs: 60_000 },
    );
  t.equal(await codeOf(client.validate("reports", sign(web))), status.INVALID_ARGUMENT);
  t.equal(await codeOf(client.validate("reports", "x.y.z")), status.INVALID_ARGUMENT);
  t.equal(await codeOf(client.validate("", sign(web))), status.INVALID_ARGUMENT);
  const { client: trusting, trust } = await open(t);
  trust.set({ ...ownTrust, jwtKeys: new Map([["other.mesh", jwkSetText([stranger])]]) });
  const foreign = "spiffe://other.mesh/any/path";
  const { spiffe_id, claims } = await trusting.validate("reports", sign(foreign));
  t.equal(spiffe_id, foreign);
  t.match(claims, { fields: { sub: { stringValue: foreign }, exp: { numberValue: middayMs / 1000 + 60 } } });
  t.equal(
    await codeOf(trusting.validate("reports", sign(web))),
    status.INVALID_ARGUMENT,
    "not for our domain",
  );
  t.equal(await codeOf(trusting.validate("other", sign(foreign))), status.INVALID_ARGUMENT);
});

t.test("the socket is this user's alone, and goes with the process", async (t) => {
  const { socketPath, api } = await open(t);
  t.equal(statSync(socketPath).mode & 0o777, 0o600);
  t.equal(statSync(path.dirname(socketPath)).mode & 0o777, 0o700);
  await api.close();
  t.notOk(existsSync(socketPath));
});

/** A socket file that nobody listens at any more, as a process that was killed leaves it. */
async function leaveStale(file: string): Promise<void> {
  const other = net.createServer();
  const moved = `${file}.moved`;
  await new Promise<void>((resolve) => other.listen(moved, resolve));
  renameSync(moved, file);
  await new Promise((resolve) => other.close(resolve));
}

t.test("what stands at the socket's place", async (t) => {
  const dir = shortFolder(t);
  const refusal = async (file: string): Promise<string> => {
    const server = net.createServer();
    try {
      const remove = await listenLocally(server, file);
      await remove();
      server.close();
      return "opened";
    } catch (error: unknown) {
      t.ok(error instanceof ConfigError, String(error));
      return (error as Error).message;
    }
  };
  const stale = path.join(dir, "stale.sock");
  await leaveStale(stale);
  t.ok(existsSync(stale));
  t.equal(await refusal(stale), "opened", "a stale socket is replaced");

  const live = path.join(dir, "live.sock");
  const owner = net.createServer((socket) => {
    socket.on("error", () => undefined); // who only looks whether somebody is there leaves at once
    socket.end("owner");
  });
  await new Promise<void>((resolve) => owner.listen(live, resolve));
  t.match(await refusal(live), /in use by another process/);
  const heard = await new Promise((resolve) =>
    net.connect(live).once("data", (data) => resolve(String(data))),
  );
  t.equal(heard, "owner", "and is still its owner's");
  await new Promise((resolve) => owner.close(resolve));

  const file = path.join(dir, "file");
  writeFileSync(file, "precious");
  t.match(await refusal(file), /no socket/);
  const link = path.join(dir, "link");
  symlinkSync(file, link);
  t.match(await refusal(link), /no socket/, "a link is not followed");
  t.match(await refusal(path.join(dir, "x".repeat(120))), /too long/);
  t.match(await refusal(path.join(file, "socket")), /ENOTDIR|EEXIST/);
  const shared = path.join(dir, "shared");
  mkdirSync(shared);
  chmodSync(shared, 0o777);
  t.match(await refusal(path.join(shared, "socket")), /others may write/);
});
