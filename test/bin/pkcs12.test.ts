/** `remora cert issue --out web.p12`: openssl and Java open it, and the passphrase is nobody else's. */
import { execFileSync, spawnSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { runRemora } from "../support/cli-process.js";
import { skipWithout, tool } from "../support/security-tools.js";

const dir = t.testdir();
const at = (name: string): string => path.join(dir, name);
const issue = (...args: readonly string[]) =>
  runRemora({ args: ["cert", "issue", "--service", "web", "--ca-dir", at("ca"), ...args] });
await runRemora({ args: ["ca", "init", "--dir", at("ca")] });

t.test("openssl opens it with the passphrase beside it, and with no other", async (t) => {
  const { code, out, err } = await issue("--out", at("web.p12"), "--output", "json");
  t.equal(code, 0, err);
  const answer = JSON.parse(out) as { readonly pkcs12File: string; readonly passphraseFile: string };
  t.match(answer, { pkcs12File: at("web.p12"), passphraseFile: at("web.p12.passphrase") });
  for (const file of [answer.pkcs12File, answer.passphraseFile]) t.equal(statSync(file).mode & 0o777, 0o600);
  const passphrase = readFileSync(answer.passphraseFile, "utf8").trim();
  t.match(passphrase, /^[\w-]{32}$/);
  t.notOk(out.includes(passphrase), "it is not shown");
  const open = (secret: string) =>
    spawnSync("openssl", ["pkcs12", "-in", at("web.p12"), "-passin", `pass:${secret}`, "-nodes"], {
      encoding: "utf8",
    });
  const opened = open(passphrase);
  t.equal(opened.status, 0, opened.stderr);
  t.equal(opened.stdout.match(/BEGIN CERTIFICATE/g)?.length, 2, "leaf and root");
  t.match(opened.stdout, /friendlyName: web\n[^]*BEGIN PRIVATE KEY/);
  t.not(open("wrong").status, 0);
  t.not(open("").status, 0);
  const bytes = readFileSync(at("web.p12"));
  for (const offset of [40, Math.floor(bytes.length / 2), bytes.length - 60]) {
    const changed = Buffer.from(bytes);
    changed[offset] = (changed[offset] ?? 0) ^ 1;
    writeFileSync(at("changed.p12"), changed);
    const result = spawnSync("openssl", [
      ...["pkcs12", "-in", at("changed.p12"), "-passin", `pass:${passphrase}`, "-nodes", "-noout"],
    ]);
    t.not(result.status, 0, `a change at ${offset} is noticed`);
  }
});

t.test("what is in it is a certificate of the mesh with its key", async (t) => {
  const pem = execFileSync("openssl", [
    ...["pkcs12", "-in", at("web.p12"), "-passin", `file:${at("web.p12.passphrase")}`, "-nodes"],
  ]).toString();
  const key = /-----BEGIN PRIVATE KEY-----[^]*?-----END PRIVATE KEY-----\n/.exec(pem)?.[0] ?? "";
  const [leaf = ""] = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----\n/.exec(pem) ?? [];
  t.ok(new X509Certificate(leaf).checkPrivateKey(createPrivateKey(key)));
  writeFileSync(at("leaf.pem"), leaf);
  const { code, out } = await runRemora({
    args: ["cert", "verify", at("leaf.pem"), "--bundle", at("ca/root.crt")],
  });
  t.equal(code, 0);
  t.match(out, /valid: spiffe:\/\/mesh\.local\/ns\/default\/svc\/web/);
});

t.test("the passphrase of a file, which must be one's own", async (t) => {
  const file = at("secret");
  writeFileSync(file, "pass wörd 1\nsecond line\n", { mode: 0o600 });
  t.equal((await issue("--out", at("own.pfx"), "--passphrase-file", file)).code, 0);
  t.notOk(existsSync(at("own.pfx.passphrase")), "none is made");
  const opened = spawnSync("openssl", [
    ...["pkcs12", "-in", at("own.pfx"), "-passin", "pass:pass wörd 1", "-noout"],
  ]);
  t.equal(opened.status, 0, opened.stderr.toString());
  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [["--out", at("x.p12"), "--passphrase-file", at("none")], /none does not exist/],
    [["--out", at("x.p12"), "--passphrase-file", at("empty")], /must begin with a line/],
    [["--out", at("x.p12"), "--passphrase-file", at("open")], /chmod 600/],
    [["--out", at("x.pem")], /must end in \.p12 or \.pfx; for PEM files give --out-dir/],
    [["--out", at("x.p12"), "--out-dir", dir], /not both/],
    [["--passphrase-file", file], /give --out FILE\.p12/],
    [["--out", at("no/such/folder/x.p12")], /cannot write .*ENOENT.*: name a file in a folder/],
  ];
  writeFileSync(at("empty"), "", { mode: 0o600 });
  writeFileSync(at("open"), "x\n");
  chmodSync(at("open"), 0o644);
  for (const [args, text] of refused) {
    const { code, err } = await issue(...args);
    t.equal(code, 1, args.join(" "));
    t.match(err, text);
    t.equal(err.trim().split("\n").length, 1, err);
    t.notOk(existsSync(at("x.p12")));
  }
});

t.test(
  "Java opens it: a key with its chain, and the root as trusted",
  { skip: skipWithout("keytool") },
  async (t) => {
    const keytool = (...args: readonly string[]): string =>
      execFileSync(tool("keytool"), [...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    const store = ["-storetype", "PKCS12", "-storepass:file", at("web.p12.passphrase")];
    const listed = keytool("-list", "-v", "-keystore", at("web.p12"), ...store);
    t.match(listed, /Alias name: web\n[^]*Entry type: PrivateKeyEntry\nCertificate chain length: 2/);
    t.match(listed, /Alias name: web-root\n[^]*Entry type: trustedCertEntry/);
    t.match(listed, /URIName: spiffe:\/\/mesh\.local\/ns\/default\/svc\/web/);
    // Copying an entry decrypts its key.
    keytool(
      ...["-importkeystore", "-srckeystore", at("web.p12"), "-srcstoretype", "PKCS12", "-srcalias", "web"],
      ...["-srcstorepass:file", at("web.p12.passphrase"), "-destkeystore", at("copy.p12")],
      ...["-deststoretype", "PKCS12", "-deststorepass:file", at("web.p12.passphrase"), "-noprompt"],
    );
    t.ok(existsSync(at("copy.p12")));
  },
);
