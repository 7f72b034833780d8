/** Writing: the CA, signing requests, keys and secret files; openssl and node:tls accept the result. */
import { execFileSync, spawnSync } from "node:child_process";
import { generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import fc from "fast-check";
import t from "tap";
import { createRootCa, issueLeaf, loadAuthority } from "../../certs/authority.js";
import { fingerprint, splitPemCertificates, toPem } from "../../certs/bundle.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { createCsr, parseCsr } from "../../certs/csr.js";
import { tag, writeDer } from "../../certs/der.js";
import { describeCertificate, describeVerification, inspectCertificates } from "../../certs/inspect.js";
import { newJoinToken, parseJoinToken } from "../../certs/join-token.js";
import { generateKeyPem, publicKeySpki, readPrivateKey } from "../../certs/keys.js";
import {
  makeFolder,
  makePrivateFolder,
  readSecretFile,
  SecretFileError,
  writeFileAtomic,
} from "../../certs/secret-file.js";
import { verifySvidChain } from "../../certs/verify.js";
import { middayMs, newKey, sequence } from "../support/make-certificate.js";

const nowMs = middayMs + 123;
const root = await createRootCa({ trustDomain: "remora.local", nowMs });
const authority = loadAuthority(root.certPem, root.keyPem);
const keyPem = await generateKeyPem();
const webLeaf = (over: { readonly ttlMs?: number; readonly nowMs?: number } = {}) =>
  issueLeaf(authority, {
    identity: { namespace: "default", service: "web" },
    publicKeySpki: parseCsr(createCsr(keyPem)).publicKeySpki,
    nowMs,
    ttlMs: 86_400_000,
    ...over,
  });
const der = (pem: string): Buffer => splitPemCertificates(pem)[0] ?? Buffer.alloc(0);

function reasonOf(run: () => unknown): string {
  try {
    run();
    return "accepted";
  } catch (error: unknown) {
    if (error instanceof CertificateError) return error.reason;
    throw error;
  }
}

t.test("the root and the leaf have exactly the fields of the profile", async (t) => {
  const ca = parseCertificate(der(root.certPem));
  t.match(ca, { subjectCommonName: "Remora Root CA", isCa: true, isSelfIssued: true, unknownCritical: [] });
  t.same(ca.subjectAltNames, [{ type: "uri", value: "spiffe://remora.local" }]);
  t.same([...(ca.keyUsage ?? [])], ["keyCertSign", "cRLSign"]);
  t.ok(ca.notAfterMs - nowMs > 3649 * 86_400_000);
  const issued = webLeaf();
  const leaf = parseCertificate(der(issued.certPem));
  t.match(leaf, { subjectCommonName: "web", isCa: false, isSelfIssued: false });
  t.same(leaf.subjectAltNames, [{ type: "uri", value: "spiffe://remora.local/ns/default/svc/web" }]);
  t.same([...(leaf.keyUsage ?? [])], ["digitalSignature"]);
  t.same(leaf.extendedKeyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  t.equal(leaf.notBeforeMs, middayMs - 300_000, "five minutes back");
  t.equal(leaf.notAfterMs, middayMs + 86_400_000 + 1000, "rounded up to whole seconds");
  t.match(leaf.serial, /^[4-7][0-9A-F]{31}$/, "128 bits, positive");
  t.equal(new X509Certificate(der(issued.certPem)).serialNumber, issued.serial, "as OpenSSL prints it");
  t.not(webLeaf().serial, issued.serial);
});

t.test("a leaf never outlives its CA, and an expired CA does not sign", async (t) => {
  const short = await createRootCa({ trustDomain: "remora.local", nowMs, lifetimeMs: 3_600_000 });
  const ca = loadAuthority(short.certPem, short.keyPem);
  const request = {
    identity: { namespace: "default", service: "web" },
    publicKeySpki: publicKeySpki(readPrivateKey(keyPem)),
    ttlMs: 86_400_000,
  };
  t.equal(issueLeaf(ca, { ...request, nowMs }).notAfterMs, ca.certificate.notAfterMs);
  t.equal(
    reasonOf(() => issueLeaf(ca, { ...request, nowMs: nowMs + 3_600_000 })),
    "expired",
  );
  const far = await createRootCa({ trustDomain: "td", nowMs, lifetimeMs: 40 * 365 * 86_400_000 });
  t.equal(new Date(parseCertificate(der(far.certPem)).notAfterMs).getUTCFullYear(), 2065, "GeneralizedTime");
});

t.test("loads only a CA with its own key", async (t) => {
  t.equal(
    reasonOf(() => loadAuthority(root.certPem, keyPem)),
    "key_mismatch",
  );
  t.equal(
    reasonOf(() => loadAuthority(webLeaf().certPem, keyPem)),
    "issuer_not_ca",
  );
  t.equal(
    reasonOf(() => loadAuthority("", keyPem)),
    "malformed",
  );
  t.equal(
    reasonOf(() =>
      loadAuthority(root.certPem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
    ),
    "bad_key",
  );
  await t.rejects(createRootCa({ trustDomain: "Upper", nowMs }), { message: /trust domain/ });
});

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
t.test("openssl accepts it", { skip: hasOpenssl ? false : "openssl is not on PATH" }, async (t) => {
  const dir = t.testdir({
    "root.crt": root.certPem,
    "leaf.crt": webLeaf().certPem,
    "web.csr": createCsr(keyPem),
  });
  const openssl = (...args: string[]): string =>
    execFileSync("openssl", args, { cwd: dir, encoding: "utf8", stdio: "pipe" });
  const verify = [
    "verify",
    "-x509_strict",
    "-attime",
    String(Math.floor(nowMs / 1000)),
    "-CAfile",
    "root.crt",
  ];
  for (const purpose of ["sslserver", "sslclient"])
    t.match(openssl(...verify, "-purpose", purpose, "leaf.crt"), /leaf\.crt: OK/);
  t.match(openssl(...verify, "root.crt"), /root\.crt: OK/);
  t.equal(
    openssl("x509", "-in", "leaf.crt", "-noout", "-serial").trim(),
    `serial=${parseCertificate(der(readFileSync(path.join(dir, "leaf.crt"), "utf8"))).serial}`,
  );
  const shown = openssl("x509", "-in", "root.crt", "-noout", "-fingerprint", "-sha256");
  t.equal(shown.trim().split("=")[1]?.replaceAll(":", "").toLowerCase(), fingerprint(der(root.certPem)));
  openssl("req", "-in", "web.csr", "-verify", "-noout"); // throws on a wrong self-signature
  writeFileSync(path.join(dir, "web.key"), keyPem);
  openssl(
    "req",
    "-new",
    "-key",
    "web.key",
    "-subj",
    "/CN=admin",
    "-addext",
    "subjectAltName=URI:spiffe://remora.local/ns/default/svc/admin",
    "-addext",
    "basicConstraints=CA:TRUE",
    "-out",
    "evil.csr",
  );
  const evil = parseCsr(readFileSync(path.join(dir, "evil.csr"), "utf8"));
  t.same(Object.keys(evil), ["publicKeySpki", "keyType"], "names, CA:TRUE and all else are not even read");
  t.same(evil.publicKeySpki, publicKeySpki(readPrivateKey(keyPem)));
});

t.test("refuses abused signing requests", async (t) => {
  const p384 = newKey("P-384").export({ type: "pkcs8", format: "pem" }).toString();
  t.equal(
    reasonOf(() => parseCsr(createCsr(p384))),
    "accepted",
  );
  const good = Buffer.from(createCsr(keyPem).replace(/-----.*-----|\n/g, ""), "base64");
  const pem = (bytes: Buffer): string => toPem("CERTIFICATE REQUEST", bytes);
  const swapped = Buffer.from(good);
  const own = publicKeySpki(readPrivateKey(keyPem));
  publicKeySpki(newKey()).copy(swapped, swapped.indexOf(own));
  const cases: readonly (readonly [string, string, string])[] = [
    ["somebody else's key", pem(swapped), "bad_request_signature"],
    ["RSA 512", pem(rsaRequest(512)), "weak_key"],
    ["RSA 1024", pem(rsaRequest(1024)), "weak_key"],
    ["RSA 2048", pem(rsaRequest(2048)), "unsupported_key"],
    [
      "secp256k1",
      createCsr(newKey("secp256k1").export({ type: "pkcs8", format: "pem" }).toString()),
      "unsupported_key",
    ],
    ["oversized", createCsr(keyPem) + " ".repeat(16_384), "too_large"],
    ["empty", "", "bad_request"],
    ["a certificate", root.certPem, "bad_request"],
    ["cut", pem(good.subarray(0, 100)), "bad_request"],
  ];
  for (const [what, text, reason] of cases)
    t.equal(
      reasonOf(() => parseCsr(text)),
      reason,
      what,
    );
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (index, change) => {
      const bytes = Buffer.from(good);
      bytes[index] = (bytes[index] ?? 0) ^ change;
      if (reasonOf(() => parseCsr(pem(bytes))) === "accepted")
        throw new Error(`octet ${index} is not protected`);
    }),
    { numRuns: 2000 },
  );
});

function rsaRequest(bits: number): Buffer {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const integer = writeDer(tag.integer, Buffer.of(0));
  const info = sequence(integer, sequence(), publicKeySpki(privateKey), writeDer(0xa0));
  const sha256WithRsa = sequence(
    writeDer(tag.oid, Buffer.from("2a864886f70d01010b", "hex")),
    writeDer(tag.null),
  );
  return sequence(
    info,
    sha256WithRsa,
    writeDer(tag.bitString, Buffer.of(0), sign("sha256", info, privateKey)),
  );
}

t.test("describes certificates for people and programs", async (t) => {
  const [leaf, ca] = inspectCertificates(webLeaf().certPem + root.certPem, nowMs);
  t.match(leaf, { kind: "svid", id: "spiffe://remora.local/ns/default/svc/web", state: "valid" });
  t.match(ca, { kind: "ca", state: "valid", keyUsage: ["keyCertSign", "cRLSign"] });
  if (leaf === undefined) return;
  t.match(describeCertificate(leaf).join("\n"), /X\.509-SVID spiffe:.*web\n[^]*24 hours left/);
  const [expired] = inspectCertificates(webLeaf().certPem, nowMs + 2 * 86_400_000);
  t.equal(expired?.state, "expired");
  t.equal(
    reasonOf(() => inspectCertificates("hello", nowMs)),
    "malformed",
  );
  const when = { nowMs, trustDomain: "remora.local" };
  const chain = splitPemCertificates(webLeaf().certPem);
  t.match(describeVerification(verifySvidChain(chain, root.certPem, when)), /^valid: spiffe:/);
  const late = verifySvidChain(chain, root.certPem, { ...when, nowMs: nowMs + 2 * 86_400_000 });
  t.match(describeVerification(late), /^refused \(expired\): /);
});

t.test("reads join tokens without quoting them", async (t) => {
  const token = newJoinToken(fingerprint(der(root.certPem)));
  t.match(parseJoinToken(` ${token.text}\n`), {
    secret: token.secret,
    rootFingerprint: token.rootFingerprint,
  });
  t.match(token.text, /^rmr1\.[\w-]{43}\.[0-9a-f]{64}$/);
  for (const text of [
    "",
    "rmr1..",
    token.text.slice(0, -1),
    `${token.text}0`,
    token.text.replace("rmr1", "rmr2"),
    "x".repeat(1e6),
  ])
    t.equal(
      reasonOf(() => parseJoinToken(text)),
      "bad_token",
    );
  const message = t.throws(() => parseJoinToken(token.text.slice(1))) as Error;
  t.notOk(message.message.includes(token.secret));
});

t.test("secret files are private, whole, and refused when others can read them", async (t) => {
  const dir = t.testdir();
  const file = path.join(dir, "web.key");
  t.equal(await readSecretFile(file), undefined);
  await writeFileAtomic(file, "one");
  await writeFileAtomic(file, "two");
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(await readSecretFile(file), "two");
  t.same(readdirSync(dir), ["web.key"], "no temporary file stays");
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(file, mode);
    await t.rejects(readSecretFile(file), {
      name: "SecretFileError",
      message: new RegExp(`chmod 600 ${file}`),
    });
  }
  await t.rejects(readSecretFile(dir), SecretFileError);
  await t.rejects(readSecretFile(path.join(file, "x")), {
    message: `cannot read ${file}/x: ${file} is no folder`,
  });
  await t.rejects(writeFileAtomic(path.join(dir, "absent", "x"), ""), { code: "ENOENT" });
  await makeFolder(path.join(dir, "a/b/c"), 0o750);
  await makeFolder(path.join(dir, "a/b/c"), 0o750);
  t.equal(statSync(path.join(dir, "a/b")).mode & 0o777, 0o750);
  await t.rejects(makeFolder(path.join(file, "x"), 0o700), { code: "ENOTDIR" });
  await t.rejects(makeFolder(file, 0o700), { code: "EEXIST" });
  symlinkSync("nowhere/at/all", path.join(dir, "link"));
  await t.rejects(makeFolder(path.join(dir, "link", "x"), 0o700), { code: /EEXIST|ENOENT/ });
  const open = path.join(dir, "open");
  mkdirSync(open, { mode: 0o755 });
  await makePrivateFolder(open);
  t.equal(statSync(open).mode & 0o777, 0o700);

  const shared = path.join(dir, "shared");
  mkdirSync(shared);
  chmodSync(shared, 0o1777);
  writeFileSync(path.join(shared, "of-somebody-else"), "");
  await t.rejects(makePrivateFolder(shared, ["svid.pem"]), { name: "SecretFileError", message: /mode 777/ });
  t.equal(statSync(shared).mode & 0o7777, 0o1777, "a folder of others stays as it is");
  writeFileSync(path.join(shared, "svid.pem"), "");
  await makePrivateFolder(shared, ["svid.pem"]);
  t.equal(statSync(shared).mode & 0o777, 0o700, "one of ours is closed");
});
