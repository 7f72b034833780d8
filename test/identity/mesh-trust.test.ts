/** Whom the mesh believes: on real TLS sockets, from the control plane to the sidecar, and on its disk. */
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import { createRootCa, issueLeaf, loadAuthority, type Authority } from "../../certs/authority.js";
import { splitPemCertificates, fingerprint } from "../../certs/bundle.js";
import { generateKeyPem, publicKeySpki, readPrivateKey } from "../../certs/keys.js";
import { keepTrust } from "../../src/discovery/trust-keeper.js";
import { decodeTrust, encodeTrust } from "../../src/discovery/trust-resource.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import { ownRootOf, trustOfSvid, type MeshTrust } from "../../src/identity/mesh-trust.js";
import { OpenPeers, type ClosedPeer } from "../../src/identity/open-peers.js";
import type { Svid } from "../../src/identity/svid.js";
import { clientTlsOptions, followRotation, serverTlsOptions } from "../../src/identity/tls-options.js";
import { verifyPeer, type PeerVerdict } from "../../src/identity/verify-peer.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import { FakeClock } from "../support/fake-clock.js";
import { temporaryFolder } from "../support/sidecar-kit.js";

const nowMs = Date.now();
const clock = new FakeClock(nowMs);

async function authority(trustDomain: string): Promise<Authority> {
  const { certPem, keyPem } = await createRootCa({ trustDomain, nowMs });
  return loadAuthority(certPem, keyPem);
}

const ours = await authority("ours.local");
const theirs = await authority("theirs.local");
const strangers = await authority("ours.local");

async function svid(service: string, by = ours): Promise<Svid> {
  const keyPem = await generateKeyPem();
  const { certPem } = issueLeaf(by, {
    identity: { namespace: "default", service },
    publicKeySpki: publicKeySpki(readPrivateKey(keyPem)),
    nowMs,
    ttlMs: 3_600_000,
  });
  return assembleSvid({ certChainPem: certPem, keyPem, bundlePem: by.certPem });
}

const both: MeshTrust = {
  version: "both",
  bundles: new Map([
    ["ours.local", ours.certPem],
    ["theirs.local", theirs.certPem],
  ]),
  revoked: new Set(),
};

/** A listener of `api` that believes `trust`, and what it says of each peer. */
async function listen(t: Test, trust = new LatestValue(both)) {
  const own = new LatestValue<Svid | undefined>(await svid("api"));
  const verdicts: PeerVerdict[] = [];
  const closed: ClosedPeer[] = [];
  const retired: string[] = [];
  const peers = new OpenPeers(trust, clock, (list) => closed.push(...list));
  const server = createServer(serverTlsOptions(own.get() as Svid, trust.get()));
  const stop = followRotation(server, own, (error) => t.fail(String(error)), trust);
  const open: TLSSocket[] = [];
  server.on("secureConnection", (socket) => {
    open.push(socket.on("error", () => undefined));
    const verdict = verifyPeer(socket, undefined, trust.get());
    verdicts.push(verdict);
    if (!verdict.ok) return void socket.destroy();
    const ownRoot = ownRootOf(own.get(), trust.get());
    peers.add(socket, verdict, { ownRoot, retire: () => retired.push(verdict.id) });
    socket.write("hello");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    stop();
    peers.close();
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, trust, verdicts, closed, retired, peers };
}

/** What the client reads until the listener has spoken or has closed. */
async function dial(t: Test, port: number, own: Svid, trust: MeshTrust = both) {
  const socket = connect({ port, host: "127.0.0.1", ...clientTlsOptions(own, trust) });
  socket.on("error", () => undefined);
  t.teardown(() => socket.destroy());
  const answer = await new Promise<string>((resolve) => {
    socket.once("data", (data: Buffer) => resolve(data.toString()));
    socket.once("close", () => resolve("closed"));
  });
  return { socket, answer };
}

t.test("a root vouches for its own trust domain only", async (t) => {
  const { port, verdicts } = await listen(t);
  const cases: readonly [what: string, own: Svid, expected: object][] = [
    ["ours", await svid("web"), { ok: true, id: "spiffe://ours.local/ns/default/svc/web" }],
    ["theirs", await svid("web", theirs), { ok: true, id: "spiffe://theirs.local/ns/default/svc/web" }],
    [
      "theirs, who say they are ours",
      await svid("web", { ...theirs, trustDomain: "ours.local" }),
      { ok: false, reason: "bad_signature" },
    ],
    [
      "ours, who say they are theirs",
      await svid("web", { ...ours, trustDomain: "theirs.local" }),
      { ok: false, reason: "bad_signature" },
    ],
    [
      "ours, of a domain nobody knows",
      await svid("web", { ...ours, trustDomain: "nobody.local" }),
      { ok: false, reason: "wrong_trust_domain" },
    ],
  ];
  for (const [what, own, expected] of cases) {
    const { answer } = await dial(t, port, own);
    t.equal(answer, "ok" in expected && expected.ok === true ? "hello" : "closed", what);
    t.match(verdicts.at(-1), expected, what);
  }
  const { answer } = await dial(t, port, await svid("web", strangers));
  t.equal(answer, "closed", "a root of our domain that is not in the bundle");
});

t.test("who is revoked is cut off at once, in both directions, and not let in again", async (t) => {
  const { port, trust, verdicts, closed, peers } = await listen(t);
  const [web, other] = [await svid("web"), await svid("other")];
  const first = await dial(t, port, web);
  const second = await dial(t, port, other);
  t.equal(peers.count, 2);
  const dialled = verifyPeer(first.socket, ["spiffe://ours.local/ns/default/svc/api"], both);
  if (!dialled.ok) throw new Error(dialled.reason);
  const cutOff = once(first.socket, "close");
  trust.set({ ...both, version: "2", revoked: new Set([web.serial]) });
  t.same(closed, [{ id: web.id, reason: "revoked", connections: 1 }]);
  await cutOff;
  t.equal(second.socket.destroyed, false, "everybody else stays");
  t.equal((await dial(t, port, web)).answer, "closed");
  t.match(verdicts.at(-1), { ok: false, reason: "revoked" });

  const own = new LatestValue(both);
  const outbound = new OpenPeers(own, clock, (list) => closed.push(...list));
  outbound.add(second.socket, dialled);
  own.set({ ...both, revoked: new Set([dialled.serial]) });
  t.match(closed[1], { reason: "revoked", connections: 1 });
  t.equal(second.socket.destroyed, true);
  t.match(verifyPeer(first.socket, undefined, both), { ok: false }, "nothing is read off a closed socket");
});

t.test(
  "a federated root that goes cuts off its peers; a root of ours that is replaced lets them finish",
  async (t) => {
    const { port, trust, closed, retired } = await listen(t);
    const [web, guest, fresh] = [
      await svid("web"),
      await svid("web", theirs),
      await svid("fresh", strangers),
    ];
    const one = await dial(t, port, web);
    const two = await dial(t, port, guest);
    const gone = once(two.socket, "close");
    trust.set({ ...both, bundles: new Map([["ours.local", `${strangers.certPem}${ours.certPem}`]]) });
    t.match(closed, [{ id: guest.id, reason: "wrong_trust_domain" }]);
    await gone;
    t.equal((await dial(t, port, guest)).answer, "closed");
    const three = await dial(t, port, fresh);
    t.equal(three.answer, "hello", "two roots of one domain");
    t.same(retired, []);
    const next = once(one.socket, "close");
    trust.set({ ...both, bundles: new Map([["ours.local", strangers.certPem]]) });
    t.equal(closed.length, 1, "nobody was cut off");
    t.same(retired, [web.id, fresh.id], "its root is gone; ours was, when it connected");
    t.equal((await dial(t, port, web)).answer, "closed", "nobody new comes with it");
    clock.advance(3_500_000);
    t.equal(one.socket.destroyed, false);
    clock.advance(200_000);
    await next; // not longer than its certificate
  },
);

t.test("travels whole, and nothing that cannot be used is taken", (t) => {
  const trust: MeshTrust = { ...both, revoked: new Set(["0A", "FF00"]), issuer: "aa00" };
  t.same(decodeTrust(encodeTrust(trust)), trust);
  const bad: readonly [what: string, trust: MeshTrust, message: RegExp][] = [
    ["no version", { ...both, version: "" }, /version: missing/],
    [
      "no certificate",
      { ...both, bundles: new Map([["a", "x"]]) },
      /bundles\[0\]\.roots_?pem: no certificate/i,
    ],
    ["no trust domain", { ...both, bundles: new Map([["A b", ours.certPem]]) }, /no trust domain/],
    ["a broken root", { ...both, bundles: new Map([["a", ours.certPem.replace(/M/g, "N")]]) }, /bundles/],
    ["no serial", { ...both, revoked: new Set(["0x1"]) }, /not hexadecimal/],
  ];
  for (const [what, trust, message] of bad)
    t.throws(() => decodeTrust(encodeTrust(trust)), { message }, what);
  t.end();
});

t.test("a sidecar keeps what it was told over a restart, and its own roots as they came last", async (t) => {
  const stateDir = await temporaryFolder(t);
  const problems: string[] = [];
  let renewals = 0;
  const start = async (own: Svid) => {
    const source = new LatestValue<Svid | undefined>(own);
    const useBundle = (bundlePem: string): void => source.set({ ...(source.get() as Svid), bundlePem });
    const renewSoon = (): void => void (renewals += 1);
    const onProblem = (problem: string): void => void problems.push(problem);
    return {
      source,
      keeper: await keepTrust({ stateDir, identity: { source, useBundle, renewSoon }, onProblem }),
    };
  };
  const own = await svid("web");
  const first = await start(own);
  t.same(first.keeper.trust.get(), trustOfSvid(own));
  const twoRoots = `${ours.certPem}${strangers.certPem}`;
  const pushed = {
    version: "7",
    revoked: new Set(["AB"]),
    bundles: new Map([
      ["ours.local", twoRoots],
      ["theirs.local", theirs.certPem],
    ]),
  };
  first.keeper.apply(pushed);
  t.equal(first.source.get()?.bundlePem, twoRoots);
  t.throws(() => first.keeper.apply({ ...pushed, version: "8", bundles: new Map([["theirs.local", "x"]]) }), {
    message: /lacks our own domain/,
  });
  t.equal(first.keeper.trust.get().version, "7");
  t.equal(renewals, 0);
  const ourKey = ours.certificate.subjectKeyId?.toString("hex");
  first.keeper.apply({ ...pushed, issuer: ourKey });
  t.equal(renewals, 0, "the CA that signs has signed ours");
  first.keeper.apply({ ...pushed, issuer: "00" });
  t.equal(renewals, 1, "another CA signs now");
  await first.keeper.close();

  const second = await start({ ...own, bundlePem: strangers.certPem });
  t.same(second.keeper.trust.get().revoked, new Set(["AB"]));
  t.equal(second.keeper.trust.get().bundles.get("ours.local"), strangers.certPem, "the identity's are newer");
  t.equal(second.keeper.trust.get().bundles.get("theirs.local"), theirs.certPem);
  second.source.set({ ...own, bundlePem: ours.certPem });
  t.equal(second.keeper.trust.get().bundles.get("ours.local"), ours.certPem, "a renewal brings others");
  await second.keeper.close();

  const file = path.join(stateDir, "trust");
  await writeFile(file, (await readFile(file)).subarray(0, 200));
  const third = await start(own);
  t.same(third.keeper.trust.get(), trustOfSvid(own), "a damaged file is not believed");
  t.match(problems, [/checksum/]);
  t.equal(splitPemCertificates(twoRoots).map(fingerprint).length, 2);
});
