/** The CA service without its server: root on disk, signing, join tokens, files for `remora cert issue`. */
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { fingerprint, splitPemCertificates } from "../../../certs/bundle.js";
import { createCsr } from "../../../certs/csr.js";
import { generateKeyPem } from "../../../certs/keys.js";
import { verifySvidChain } from "../../../certs/verify.js";
import { issueFiles } from "../../../control-plane/ca/offline-issue.js";
import { createIssuer } from "../../../control-plane/ca/issuer.js";
import { openJoinTokens, type Redemption } from "../../../control-plane/ca/join-tokens.js";
import { initCa, loadOrCreateRoot, loadRoot } from "../../../control-plane/ca/root-store.js";
import { ConfigError } from "../../../src/errors/config-error.js";
import { FakeClock } from "../../support/fake-clock.js";

const trustDomain = "remora.local";
const nowMs = new FakeClock().wallMs();
const keyPem = await generateKeyPem();
const csr = createCsr(keyPem);
const caller = { namespace: "default", service: "web" };

t.test("makes a CA once, keeps it, and guards it", async (t) => {
  const dir = path.join(t.testdir(), "data", "ca");
  const options = { dir, trustDomain, nowMs };
  // Two control planes started at once on one folder: both must end with the same root.
  const [one, two] = await Promise.all([loadOrCreateRoot(options), loadOrCreateRoot(options)]);
  t.equal(one.certPem, two.certPem);
  t.equal((await loadOrCreateRoot(options)).certPem, one.certPem);
  t.same(readdirSync(path.dirname(dir)), ["ca"], "no temporary folder stays");
  t.equal(statSync(dir).mode & 0o777, 0o700);
  t.equal(statSync(path.join(dir, "root.key")).mode & 0o777, 0o600);
  await t.rejects(initCa(options), { message: /already holds a CA/ });
  await t.rejects(loadOrCreateRoot({ ...options, trustDomain: "other" }), {
    message: /trust domain remora\.local, not other/,
  });
  await t.rejects(loadOrCreateRoot({ ...options, nowMs: nowMs + 11 * 365 * 86_400_000 }), {
    message: /has expired/,
  });
});

t.test("says what is wrong with a CA folder and how to mend it", async (t) => {
  const dir = path.join(t.testdir(), "ca");
  t.equal(await loadRoot(dir), undefined);
  await initCa({ dir, trustDomain, nowMs });
  const key = path.join(dir, "root.key");
  chmodSync(key, 0o644);
  await t.rejects(loadRoot(dir), {
    name: "ConfigError",
    message: `${key} can be read by others (mode 644): run chmod 600 ${key}`,
  });
  writeFileSync(key, "damaged");
  chmodSync(key, 0o600);
  await t.rejects(loadRoot(dir), {
    name: "ConfigError",
    message: /cannot be used: the text is not a private key/,
  });
  rmSync(key);
  await t.rejects(loadRoot(dir), { name: "ConfigError", message: /root\.key is missing/ });
  rmSync(path.join(dir, "root.crt"));
  writeFileSync(path.join(dir, "notes.txt"), "");
  await t.rejects(loadOrCreateRoot({ dir, trustDomain, nowMs }), { message: /other files but no CA/ });
  const file = path.join(dir, "notes.txt", "ca");
  await t.rejects(loadOrCreateRoot({ dir: file, trustDomain, nowMs }), ConfigError);
  await t.rejects(loadOrCreateRoot({ dir: path.join(dir, "new"), trustDomain: "No Domain", nowMs }), {
    message: /no trust domain/,
  });
});

t.test("signs for the caller and never for the request", async (t) => {
  const clock = new FakeClock();
  const root = await initCa({ dir: path.join(t.testdir(), "ca"), trustDomain, nowMs });
  const issuer = createIssuer({ root, clock });
  const issued = issuer.issue(caller, csr);
  const chain = splitPemCertificates(issued.certChainPem);
  const verdict = verifySvidChain(chain, issued.bundlePem, { nowMs: clock.wallMs(), trustDomain });
  t.same(verdict, { ok: true, id: "spiffe://remora.local/ns/default/svc/web" });
  const life = (ttlMs?: number): number => issuer.issue(caller, csr, ttlMs).notAfterMs - clock.wallMs();
  t.equal(life(), 86_400_000);
  t.equal(life(365 * 86_400_000), 86_400_000, "a longer wish is capped");
  t.equal(life(5000), 5000);
  t.equal(life(0), 2000);
  t.equal(life(Number.NaN), 86_400_000);
  for (const service of ["web/svc/admin", "", "Web", "web,spiffe://x"])
    t.throws(() => issuer.issue({ namespace: "default", service }, csr), { code: "bad_request" });
  t.throws(() => createIssuer({ root, clock, ttlMs: 1000 }), ConfigError);
  t.throws(() => createIssuer({ root, clock, ttlMs: 8 * 86_400_000 }), ConfigError);
});

t.test("limits signing per caller, bad requests included", async (t) => {
  const clock = new FakeClock();
  const root = await initCa({ dir: path.join(t.testdir(), "ca"), trustDomain, nowMs });
  const issuer = createIssuer({ root, clock });
  for (let i = 0; i < 100; i++)
    t.throws(() => issuer.issue(caller, "garbage"), { name: "IssueError", code: "bad_request" });
  t.throws(() => issuer.issue(caller, csr), {
    name: "IssueError",
    code: "rate_limited",
    message: /web\.default/,
  });
  t.ok(issuer.issue({ ...caller, service: "api" }, csr), "others are not affected");
  clock.advance(10);
  t.ok(issuer.issue(caller, csr), "one more after a hundredth of a second");
  t.throws(() => issuer.issue(caller, csr), { code: "rate_limited" });
});

t.test("a CA that has expired says so", async (t) => {
  const clock = new FakeClock();
  const root = await initCa({ dir: path.join(t.testdir(), "ca"), trustDomain, nowMs });
  const issuer = createIssuer({ root, clock });
  clock.advance(11 * 365 * 86_400_000);
  t.throws(() => issuer.issue(caller, csr), { code: "ca_expired" });
});

const rootFingerprint = "ab".repeat(32);

const nameOf = (redeemed: Redemption): unknown =>
  redeemed.refused ?? { namespace: redeemed.namespace, service: redeemed.service };

t.test("a join token works exactly once", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "tokens.json");
  const tokens = await openJoinTokens({ file, rootFingerprint, clock });
  const { token, expiresAtMs } = await tokens.createToken(caller);
  t.equal(expiresAtMs, clock.wallMs() + 600_000);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.notOk(readFileSync(file, "utf8").includes(token.split(".")[1] ?? "?"), "only the hash is stored");
  const results = await Promise.all(Array.from({ length: 20 }, () => tokens.redeem(token)));
  t.same(
    results.filter((result) => result.refused === undefined).map(nameOf),
    [caller],
    "one of twenty at once",
  );
  t.equal(results.filter((result) => result.refused === "used").length, 19);
  const reopened = await openJoinTokens({ file, rootFingerprint, clock });
  t.same(await reopened.redeem(token), { refused: "used" }, "also after a restart");
});

t.test("a token of several uses, expiry, and foreign texts", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir(), "tokens.json");
  const tokens = await openJoinTokens({ file, rootFingerprint, clock });
  const { token } = await tokens.createToken({ ...caller, uses: 3, ttlMs: 60_000 });
  const { token: late } = await tokens.createToken({ ...caller, ttlMs: 60_000 });
  const results = await Promise.all(Array.from({ length: 5 }, () => tokens.redeem(token)));
  t.equal(results.filter((result) => result.refused === undefined).length, 3);
  clock.advance(60_000);
  t.same(await tokens.redeem(late), { refused: "expired" });
  t.same(await tokens.redeem("rmr1.x.y"), { refused: "malformed" });
  t.same(await tokens.redeem(late.replace(rootFingerprint, "cd".repeat(32))), { refused: "other_ca" });
  t.same(await tokens.redeem(`rmr1.${"A".repeat(43)}.${rootFingerprint}`), { refused: "unknown" });
  clock.advance(3_600_000);
  await tokens.createToken(caller);
  t.equal(
    (JSON.parse(readFileSync(file, "utf8")) as { tokens: unknown[] }).tokens.length,
    1,
    "old ones are pruned",
  );
  t.same(await tokens.redeem(late), { refused: "unknown" });
});

t.test("a use that cannot be recorded is not granted", async (t) => {
  const clock = new FakeClock();
  const dir = path.join(t.testdir({ data: {} }), "data");
  const tokens = await openJoinTokens({ file: path.join(dir, "tokens.json"), rootFingerprint, clock });
  const { token } = await tokens.createToken(caller);
  rmSync(dir, { recursive: true });
  await t.rejects(tokens.redeem(token), { code: "ENOENT" });
  await t.rejects(tokens.createToken(caller), { code: "ENOENT" });
  t.testdir({ data: {} });
  t.same(nameOf(await tokens.redeem(token)), caller, "the use was given back");
});

t.test("refuses wrong token settings and damaged files", async (t) => {
  const clock = new FakeClock();
  const file = path.join(t.testdir({ "tokens.json": "{" }), "tokens.json");
  chmodSync(file, 0o600);
  for (const text of [
    "{",
    "null",
    "[]",
    '{"version":1,"tokens":[null]}',
    '{"version":1,"tokens":[{"hash":"00"}]}',
  ]) {
    writeFileSync(file, text);
    await t.rejects(openJoinTokens({ file, rootFingerprint, clock }), {
      name: "ConfigError",
      message: /is damaged/,
    });
  }
  chmodSync(file, 0o644);
  await t.rejects(openJoinTokens({ file, rootFingerprint, clock }), { message: /chmod 600/ });
  rmSync(file);
  const tokens = await openJoinTokens({ file, rootFingerprint, clock });
  for (const wrong of [
    { service: "Web" },
    { ttlMs: 0 },
    { ttlMs: 1e9 },
    { uses: 0 },
    { uses: 1.5 },
    { uses: 1e6 },
  ])
    await t.rejects(tokens.createToken({ ...caller, ...wrong }), ConfigError);
});

t.test("the number of tokens is bounded", async (t) => {
  const clock = new FakeClock();
  const hash = (index: number): string => index.toString(16).padStart(64, "0");
  const stored = Array.from({ length: 1000 }, (_, index) => ({
    ...{ hash: hash(index), ...caller, expiresAtMs: nowMs + 60_000, usesLeft: index === 0 ? 0 : 1 },
  }));
  const file = path.join(t.testdir(), "tokens.json");
  writeFileSync(file, JSON.stringify({ version: 1, tokens: stored }), { mode: 0o600 });
  const tokens = await openJoinTokens({ file, rootFingerprint, clock });
  t.ok(await tokens.createToken(caller), "in the place of the used one");
  await t.rejects(tokens.createToken(caller), { message: /1000 join tokens are waiting/ });
  clock.advance(60_000);
  t.ok(await tokens.createToken(caller));
});

t.test("issues files without a control plane", async (t) => {
  const clock = new FakeClock();
  const base = t.testdir();
  const caDir = path.join(base, "ca");
  const request = { caDir, outDir: path.join(base, "out"), ...caller, user: "ada", clock };
  await t.rejects(issueFiles(request), { name: "ConfigError", message: /remora ca init/ });
  const root = await initCa({ dir: caDir, trustDomain, nowMs });
  const files = await issueFiles({ ...request, ttlMs: 60_000 });
  t.equal(statSync(files.keyFile).mode & 0o777, 0o600);
  const chain = splitPemCertificates(readFileSync(files.certFile, "utf8"));
  const bundle = readFileSync(files.bundleFile, "utf8");
  t.equal(verifySvidChain(chain, bundle, { nowMs, trustDomain }).ok, true);
  t.equal(fingerprint(splitPemCertificates(bundle)[0] ?? Buffer.alloc(0)), fingerprint(root.certificate.der));
  await t.rejects(issueFiles({ ...request, outDir: caDir }), { message: /CA's own folder/ });
  await t.rejects(issueFiles({ ...request, service: "../x" }), {
    message: /cannot be the name of a service/,
  });
  await t.rejects(issueFiles({ ...request, outDir: files.keyFile }), { message: /cannot write to/ });
});
