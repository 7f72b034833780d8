/** The CA on disk: rotation over crashes, offline roots, encrypted keys, and what is refused without harm. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { createCsr } from "../../../certs/csr.js";
import { generateKeyPem } from "../../../certs/keys.js";
import { splitPemCertificates } from "../../../certs/bundle.js";
import { verifySvidChain } from "../../../certs/verify.js";
import { bundleOf, loadSigningCa, openCaStore } from "../../../control-plane/ca/ca-store.js";
import { encryptCaKeys } from "../../../control-plane/ca/encrypt-key.js";
import { createIssuer } from "../../../control-plane/ca/issuer.js";
import { makeIntermediate } from "../../../control-plane/ca/make-intermediate.js";
import { initCa, loadOrCreateRoot, loadRoot } from "../../../control-plane/ca/root-store.js";
import { createRotation } from "../../../control-plane/ca/rotate.js";
import {
  keyIdOf,
  lagging,
  othersLagging,
  rotationStep,
  type RotationSidecar,
} from "../../../control-plane/ca/rotation-rules.js";
import type { SidecarView } from "../../../control-plane/admin/views.js";
import { FakeClock } from "../../support/fake-clock.js";

const trustDomain = "mesh.local";
const dayMs = 86_400_000;
const run = promisify(execFile);
/** openssl looks at the real clock. */
const clock = new FakeClock(Date.now());

async function folder(t: Test): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), "remora-ca-"));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const store = (dir: string, passphrase?: string) => openCaStore({ dir, trustDomain, passphrase, clock });

/** Names and contents of all files below a folder. */
async function contents(dir: string): Promise<Readonly<Record<string, string>>> {
  const names = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = names.filter((each) => each.isFile()).map((each) => path.join(each.parentPath, each.name));
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await readFile(file, "utf8")])),
  );
}

t.test("a rotation is found again after a crash between any two steps", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const first = await store(dir);
  const old = first.state.get().active;
  t.match(first.state.get(), { step: "idle", other: undefined });
  await t.rejects(first.activate(), { message: /no rotation .* remora ca rotate/ });
  await t.rejects(first.finish(), { message: /no rotation/ });
  await t.rejects(first.abort(), { message: /no rotation/ });

  await first.prepare(undefined);
  const next = first.state.get().other;
  t.not(next?.rootFingerprint, old.rootFingerprint);
  await t.rejects(first.prepare(undefined), { message: /prepared already: .* --activate/ });
  await t.rejects(first.finish(), { message: /prepared already/ });
  const second = await store(dir);
  t.match(second.state.get(), { step: "prepared", preparedAtMs: clock.wallMs() });
  t.equal(second.state.get().active.certPem, old.certPem);
  t.equal(second.state.get().other?.certPem, next?.certPem);
  t.equal(splitPemCertificates(bundleOf(second.state.get())).length, 2);
  t.equal((await loadSigningCa(dir))?.authority.certPem, old.certPem);

  await second.abort();
  t.equal((await store(dir)).state.get().step, "idle");
  await second.prepare(undefined);
  const chosen = second.state.get().other;
  await second.activate();
  await t.rejects(second.abort(), { message: /signs already: .* --finish/ });
  const third = await store(dir);
  t.match(third.state.get(), { step: "active", activatedAtMs: clock.wallMs() });
  t.equal(third.state.get().active.certPem, chosen?.certPem);
  t.equal(third.state.get().other?.certPem, old.certPem);
  const offline = await loadSigningCa(dir);
  t.equal(offline?.authority.certPem, chosen?.certPem, "remora cert issue signs with it too");
  t.equal(splitPemCertificates(offline?.bundlePem ?? "").length, 2);

  // Killed in the middle of --finish, before and after the first file was replaced.
  const rotation = path.join(dir, "rotation.json");
  const stored = JSON.parse(await readFile(rotation, "utf8")) as object;
  await writeFile(rotation, JSON.stringify({ ...stored, step: "finishing" }), { mode: 0o600 });
  await writeFile(path.join(dir, "root.key"), await readFile(path.join(dir, "next", "root.key")));
  const last = await store(dir);
  t.match(last.state.get(), { step: "idle", other: undefined });
  t.equal(last.state.get().active.certPem, chosen?.certPem);
  t.same((await readdir(dir)).sort(), ["root.crt", "root.key"], "nothing of the old one is left");
  t.equal((await stat(path.join(dir, "root.key"))).mode & 0o777, 0o600);
});

t.test("state that is damaged is named, and nothing is overwritten", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const ca = await store(dir);
  await ca.prepare(undefined);
  const whole = await contents(dir);
  const restore = () => Promise.all(Object.entries(whole).map(([file, text]) => writeFile(file, text)));
  const cases: readonly [file: string, content: string, message: RegExp][] = [
    ["rotation.json", "", /rotation\.json is damaged: restore it from a backup/],
    ["rotation.json", '{"version":1,"step":"act', /rotation\.json is damaged/],
    ["rotation.json", '{"version":2,"step":"active","preparedAtMs":1,"activatedAtMs":1}', /is damaged/],
    [
      "root.key",
      (whole[path.join(dir, "root.key")] ?? "").slice(0, 90),
      /the CA in .* cannot be used: .*not a private key/,
    ],
    ["root.crt", "", /cannot be used/],
    ["next/root.key", "", /next cannot be used/],
  ];
  for (const [name, content, message] of cases) {
    await writeFile(path.join(dir, name), content);
    const before = await contents(dir);
    await t.rejects(store(dir), { name: "ConfigError", message }, `${name}: ${content.slice(0, 20)}`);
    t.same(await contents(dir), before, "and nothing has changed");
    await restore();
  }
  await chmod(path.join(dir, "next", "root.key"), 0o640);
  await t.rejects(store(dir), { message: /chmod 600/ });
});

t.test("an intermediate of an offline root signs, and openssl believes its leaves", async (t) => {
  const dir = await folder(t);
  const [root, out] = [path.join(dir, "root"), path.join(dir, "ca")];
  await initCa({ dir: root, trustDomain, nowMs: clock.wallMs() });
  const make = (outDir: string, lifetimeMs = 365 * dayMs) =>
    makeIntermediate({
      ...{ rootDir: root, outDir, lifetimeMs, nowMs: clock.wallMs() },
      passphrase: undefined,
      outPassphrase: undefined,
    });
  const made = await make(out);
  t.same((await readdir(out)).sort(), ["intermediate.crt", "intermediate.key", "root.crt"]);
  t.equal((await stat(path.join(out, "intermediate.key"))).mode & 0o777, 0o600);
  t.match(made.certificate, { pathLength: 0, isCa: true, permittedUriHosts: [trustDomain] });
  await t.rejects(make(out), { message: /is not empty: name a folder that does not exist/ });
  await t.rejects(make(path.join(dir, "long"), 3651 * dayMs), { message: /shorter --ttl/ });
  await t.rejects(
    makeIntermediate({
      ...{ rootDir: out, outDir: path.join(dir, "x"), lifetimeMs: dayMs },
      nowMs: clock.wallMs(),
      passphrase: undefined,
      outPassphrase: undefined,
    }),
    {
      message: /name the folder of the root itself/,
    },
  );

  const opened = await store(out);
  const { active } = opened.state.get();
  const issuer = createIssuer({ root: active, clock });
  const issued = issuer.issue({ namespace: "default", service: "web" }, createCsr(await generateKeyPem()));
  const chain = splitPemCertificates(issued.certChainPem);
  t.equal(chain.length, 2, "leaf and intermediate");
  t.same(verifySvidChain(chain, issued.bundlePem, { nowMs: clock.wallMs(), trustDomain }), {
    ok: true,
    id: `spiffe://${trustDomain}/ns/default/svc/web`,
  });
  const files = { leaf: path.join(dir, "leaf.pem"), chain: path.join(dir, "chain.pem") };
  await writeFile(files.leaf, issued.certChainPem);
  await writeFile(files.chain, active.intermediatesPem);
  const openssl = ["verify", "-x509_strict", "-CAfile", path.join(out, "root.crt")];
  const { stdout } = await run("openssl", [...openssl, "-untrusted", files.chain, files.leaf]);
  t.match(stdout, /leaf\.pem: OK/);

  // The name constraint: even with the intermediate's key nobody of another trust domain can be made.
  const foreign = createIssuer({ root: { ...active, trustDomain: "other.local" }, clock });
  const forged = foreign.issue({ namespace: "default", service: "web" }, createCsr(await generateKeyPem()));
  await writeFile(files.leaf, forged.certChainPem);
  await t.rejects(
    run("openssl", [...openssl, "-untrusted", files.chain, files.leaf]),
    /permitted subtree violation/,
  );
  t.match(
    verifySvidChain(splitPemCertificates(forged.certChainPem), issued.bundlePem, {
      nowMs: clock.wallMs(),
      trustDomain: "other.local",
    }),
    { ok: false, reason: "issuer_of_other_trust_domain" },
  );

  await t.rejects(opened.prepare(undefined), { message: /signs with an intermediate: .* --from/ });
  await t.rejects(opened.prepare(out), { message: /holds the CA that signs already/ });
  await t.rejects(opened.prepare(path.join(dir, "nowhere")), { message: /holds no CA/ });
  await make(path.join(dir, "second"));
  await opened.prepare(path.join(dir, "second"));
  t.equal(splitPemCertificates(bundleOf(opened.state.get())).length, 1, "the same root");
  await opened.activate();
  await opened.finish();
  t.not(opened.state.get().active.certificate.serial, active.certificate.serial);
  t.same((await readdir(out)).sort(), ["intermediate.crt", "intermediate.key", "root.crt"]);
  await t.rejects(
    openCaStore({
      dir: out,
      trustDomain,
      passphrase: undefined,
      clock: new FakeClock(clock.wallMs() + 366 * dayMs),
    }),
    { message: /the intermediate CA in .* has expired: .* remora ca intermediate/ },
  );
});

t.test("an encrypted key opens with its passphrase only, for openssl too", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const nowMs = clock.wallMs();
  const plain = await loadOrCreateRoot({ dir, trustDomain, nowMs });
  await t.rejects(loadRoot(dir, "secret"), {
    message: /not encrypted although there is a passphrase .*encrypt-key/,
  });
  await t.rejects(encryptCaKeys({ dir: path.dirname(dir), passphrase: "x", oldPassphrase: undefined }), {
    message: /holds no key of a CA/,
  });
  t.same(await encryptCaKeys({ dir, passphrase: "secret", oldPassphrase: undefined }), [
    path.join(dir, "root.key"),
  ]);
  const file = path.join(dir, "root.key");
  const text = await readFile(file, "utf8");
  t.match(text, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.equal((await loadRoot(dir, "secret"))?.certPem, plain.certPem);
  const { stdout } = await run("openssl", ["pkey", "-in", file, "-passin", "pass:secret", "-pubout"]);
  t.match(stdout, /BEGIN PUBLIC KEY/);
  const asn1 = await run("openssl", ["asn1parse", "-in", file]);
  t.match(asn1.stdout, /PBKDF2[\s\S]*:0927C0[\s\S]*hmacWithSHA256[\s\S]*aes-256-cbc/, "600,000 rounds");

  const cases: readonly [what: string, content: string, passphrase: string | undefined, message: RegExp][] = [
    ["none", text, undefined, /root\.key: the private key is encrypted: .*--ca-key-passphrase-file/],
    [
      "a wrong one",
      text,
      "Secret",
      /root\.key: the passphrase does not open the private key, or the key is damaged/,
    ],
    ["a key cut off", text.slice(0, 150), "secret", /cut off/],
    ["a key with a hole", text.slice(0, 120) + text.slice(140), "secret", /does not open|not a private key/],
  ];
  for (const [what, content, passphrase, message] of cases) {
    await writeFile(file, content);
    const before = await contents(dir);
    await t.rejects(store(dir, passphrase), { name: "ConfigError", message }, what);
    await t.rejects(initCa({ dir, trustDomain, nowMs, passphrase: "new" }), {
      message: /already holds a CA/,
    });
    t.same(await contents(dir), before, "nothing was overwritten");
  }
  await writeFile(file, text);
  const failure = await loadRoot(dir, "not this").catch(String);
  t.notMatch(failure, /not this|MIG/, "nothing secret in the error");
  await encryptCaKeys({ dir, passphrase: "other", oldPassphrase: "secret" });
  t.equal((await loadRoot(dir, "other"))?.certPem, plain.certPem);
  await t.rejects(encryptCaKeys({ dir, passphrase: "x", oldPassphrase: undefined }), {
    message: /--old-passphrase-file/,
  });

  const ca = await store(dir, "other");
  await ca.prepare(undefined);
  t.match(await readFile(path.join(dir, "next", "root.key"), "utf8"), /ENCRYPTED/, "the next one too");
});

t.test("says who does not let a rotation go on", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const ca = await store(dir);
  const old = keyIdOf(ca.state.get().active);
  const sidecar = (change: Partial<RotationSidecar> = {}): RotationSidecar => ({
    id: "web",
    trustVersion: "2",
    nackReason: null,
    certificateIssuer: old,
    ...change,
  });
  t.same(lagging(ca.state.get(), "2", [sidecar({ trustVersion: null })]), [], "nothing to wait for");
  await ca.prepare(undefined);
  const prepared: readonly [sidecar: RotationSidecar, reason: RegExp | undefined][] = [
    [sidecar(), undefined],
    [sidecar({ trustVersion: "1" }), /has the older trust bundle 1/],
    [sidecar({ trustVersion: null }), /has no trust bundle/],
    [sidecar({ trustVersion: "1", nackReason: "broken" }), /has refused the trust bundle: broken/],
  ];
  for (const [one, reason] of prepared)
    t.match(lagging(ca.state.get(), "2", [one])[0]?.reason, reason ?? undefined);
  await ca.activate();
  t.match(lagging(ca.state.get(), "2", [sidecar()]), [
    { id: "web", reason: "uses a certificate of the old CA" },
  ]);
  t.same(lagging(ca.state.get(), "2", [sidecar({ certificateIssuer: keyIdOf(ca.state.get().active) })]), []);
  t.same(lagging(ca.state.get(), "2", [sidecar({ certificateIssuer: null })]), [], "of no CA that is known");
  t.same(
    (["idle", "prepared", "active"] as const).flatMap((step) => [
      rotationStep(step, true),
      rotationStep(step, false),
    ]),
    ["idle", "idle", "prepared", "distributed", "active", "renewed"],
  );
});

t.test("an operator takes a step too early, by force, or twice at once", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const ca = await store(dir);
  let sidecars: Partial<SidecarView>[] = [];
  const steps: string[] = [];
  const rotation = createRotation({
    ...{ store: ca, clock, bundleRefreshMs: undefined },
    trustVersion: () => "2",
    sidecars: () => sidecars as SidecarView[],
    onStep: (step) => steps.push(step),
  });
  const late = (n: number) => ({
    id: `web-${n}`,
    trustVersion: "1",
    nackReason: null,
    certificateIssuer: null,
  });
  sidecars = Array.from({ length: 12 }, (_, n) => late(n));
  t.match(await rotation.rotate({ do: "prepare", from: undefined }), { step: "prepared", sidecars: 12 });
  await t.rejects(rotation.rotate({ do: "activate", isForced: false }), {
    message:
      /^12 connected sidecars would refuse .*web-0 has the older.*web-9.*and 2 more\): wait for them, or use --force$/,
  });
  t.equal(rotation.view().step, "prepared");
  const [one, two] = await Promise.allSettled([
    rotation.rotate({ do: "activate", isForced: true }),
    rotation.rotate({ do: "activate", isForced: true }),
  ]);
  t.match(one, { status: "fulfilled", value: { step: "active" } });
  t.match(two, { status: "rejected", reason: { message: /signs already/ } });
  await t.rejects(rotation.rotate({ do: "finish", isForced: false }), {
    message: /would be refused without the old CA/,
  });
  sidecars = [];
  t.match(await rotation.rotate({ do: "finish", isForced: false }), { step: "idle", previous: null });
  t.same(steps, ["prepare", "activate", "finish"]);
});

t.test("other meshes get the time of three rounds before a new root signs", async (t) => {
  const dir = path.join(await folder(t), "ca");
  const ca = await store(dir);
  const own = new FakeClock(clock.wallMs());
  const rotation = createRotation({
    ...{ store: ca, clock: own, bundleRefreshMs: 300_000 },
    trustVersion: () => "2",
    sidecars: () => [],
    onStep: () => undefined,
  });
  t.match(rotation.view(), { step: "idle", lagging: [] });
  t.match(await rotation.rotate({ do: "prepare", from: undefined }), { step: "prepared" });
  own.advance(899_999);
  await t.rejects(rotation.rotate({ do: "activate", isForced: false }), {
    message:
      /^other meshes would refuse certificates of the new CA \(other meshes may not have fetched the bundle .*Z\): wait/,
  });
  own.advance(1);
  t.match(rotation.view(), { step: "distributed", lagging: [] });
  t.match(await rotation.rotate({ do: "activate", isForced: false }), { step: "renewed" });
  const { active, other } = ca.state.get();
  const prepared = { step: "prepared", active, preparedAtMs: own.wallMs() } as const;
  t.equal(othersLagging({ ...prepared, other }, 1000, own.wallMs()).length, 1);
  t.same(othersLagging({ ...prepared, other }, undefined, own.wallMs()), [], "nobody reads our bundle");
  t.same(othersLagging({ ...prepared, other: active }, 1000, own.wallMs()), [], "the same root");
});
