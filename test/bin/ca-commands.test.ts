/** `remora ca init|intermediate|encrypt-key` and `cert issue --out`, as typed: what they make, and one line for what they refuse. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import { runRemora } from "../support/cli-process.js";

t.setTimeout(240_000);
const dir = t.testdir();
const at = (name: string): string => path.join(dir, name);
const remora = (...args: readonly string[]) => runRemora({ args });
const modeOf = (name: string): number => statSync(at(name)).mode & 0o777;

/** A file for one's own eyes. */
function secret(name: string, text: string, mode = 0o600): string {
  writeFileSync(at(name), text);
  chmodSync(at(name), mode);
  return at(name);
}

const one = secret("one", "first passphrase\n");
const two = secret("two", "second passphrase\n");
const wrong = secret("wrong", "third passphrase\n");
const open = secret("open", "first passphrase\n", 0o644);
const empty = secret("empty", "");

/** Every file below, with its mode and content. */
function contents(): Readonly<Record<string, string>> {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return Object.fromEntries(
    files.map((each) => {
      const file = path.join(each.parentPath, each.name);
      return [file, `${statSync(file).mode.toString(8)} ${readFileSync(file, "latin1")}`];
    }),
  );
}

/** Each is refused with exit code 1 and one line that fits, and not a byte of the folder has changed. */
async function refuses(
  t: Test,
  cases: readonly (readonly [args: readonly string[], text: RegExp])[],
): Promise<void> {
  for (const [args, text] of cases) {
    const before = contents();
    const { code, out, err } = await remora(...args);
    t.equal(code, 1, args.join(" "));
    t.match(err, text);
    t.equal(err.trim().split("\n").length, 1, err);
    t.notMatch(`${out}${err}`, /(first|second|third) passphrase|PRIVATE|MII|MIG/, "nothing secret is told");
    t.same(contents(), before, `${args.join(" ")}: nothing has changed`);
  }
}

t.test("ca init", async (t) => {
  const made = await remora("ca", "init", "--dir", at("root"), "--ca-key-passphrase-file", one, "-o", "json");
  t.equal(made.code, 0, made.err);
  t.match(JSON.parse(made.out), {
    trustDomain: "mesh.local",
    keyFile: at("root/root.key"),
    fingerprintSha256: /^[0-9a-f]{64}$/,
  });
  t.same([modeOf("root"), modeOf("root/root.key"), modeOf("root/root.crt")], [0o700, 0o600, 0o644]);
  t.match(readFileSync(at("root/root.key"), "utf8"), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  const plain = await remora("ca", "init", "--dir", at("plain"));
  t.equal(plain.code, 0, plain.err);
  t.match(readFileSync(at("plain/root.key"), "utf8"), /^-----BEGIN PRIVATE KEY-----/);
  const passphrase = (file: string) => ["ca", "init", "--dir", at("new"), "--ca-key-passphrase-file", file];
  await refuses(t, [
    [["ca", "init", "--dir", at("root")], /root already holds a CA: a second one would cut off/],
    [["ca", "init", "--dir", at("root"), "--ca-key-passphrase-file", wrong], /already holds a CA/],
    [["ca", "init", "--dir", one], /one\/root\.crt \(ENOTDIR\)/],
    [passphrase(at("none")), /--ca-key-passphrase-file: there is no .*none; write the passphrase there/],
    [passphrase(empty), /empty is empty; write the passphrase there/],
    [passphrase(open), /open can be read by others \(mode 644\): run chmod 600/],
    [passphrase(dir), /is not an ordinary file/],
  ]);
});

t.test("ca intermediate", async (t) => {
  const make = (root: string, out: string, ...flags: readonly string[]) => [
    ...["ca", "intermediate", "--root", at(root), "--out", at(out), ...flags],
  ];
  const key = ["--ca-key-passphrase-file", one];
  const made = await remora(...make("root", "ca", ...key, "--out-key-passphrase-file", two));
  t.equal(made.code, 0, made.err);
  t.match(made.out, /^intermediate CA of trust domain mesh\.local created in .*\/ca\n/);
  t.same(readdirSync(at("ca")).sort(), ["intermediate.crt", "intermediate.key", "root.crt"]);
  t.same([modeOf("ca"), modeOf("ca/intermediate.key")], [0o700, 0o600]);
  const opened = (file: string) =>
    spawnSync("openssl", ["pkey", "-in", at("ca/intermediate.key"), "-passin", `file:${file}`, "-noout"])
      .status;
  t.equal(opened(two), 0, "openssl opens it with its own passphrase");
  t.not(opened(one), 0, "and not with the root's");
  const loose = at("loose");
  copyFolder("root", "loose");
  chmodSync(path.join(loose, "root.key"), 0o640);
  copyFolder("root", "keyless");
  rmSync(at("keyless/root.key"));
  copyFolder("root", "cut");
  secret("cut/root.key", readFileSync(at("root/root.key"), "utf8").slice(0, 200));
  await refuses(t, [
    [make("root", "x"), /root\.key: the private key is encrypted: .*--ca-key-passphrase-file/],
    [
      make("root", "x", "--ca-key-passphrase-file", wrong),
      /root\.key: the passphrase does not open the private key/,
    ],
    [make("root", "x", "--ca-key-passphrase-file", open), /chmod 600/],
    [
      make("root", "x", ...key, "--out-key-passphrase-file", at("none")),
      /--out-key-passphrase-file: there is no/,
    ],
    [make("plain", "x", ...key), /is not encrypted although there is a passphrase/],
    [make("loose", "x", ...key), /loose\/root\.key can be read by others \(mode 640\): run chmod 600/],
    [
      make("keyless", "x", ...key),
      /root\.key is missing beside the rest of the CA: restore it from a backup/,
    ],
    [make("cut", "x", ...key), /the CA in .*cut cannot be used: .*cut off; restore it from a backup/],
    [make("nowhere", "x", ...key), /nowhere holds no CA: make one with remora ca init/],
    [make("root", "ca", ...key), /ca is not empty: name a folder that does not exist yet/],
    [
      make("ca", "x", "--ca-key-passphrase-file", two),
      /holds an intermediate CA: name the folder of the root itself/,
    ],
    [make("root", "x", ...key, "--ttl", "87600h"), /choose a shorter --ttl/],
  ]);
  t.notOk(existsSync(at("x")));
});

t.test("ca encrypt-key", async (t) => {
  const encrypt = (folder: string, file: string, ...old: readonly string[]) => [
    ...["ca", "encrypt-key", "--dir", at(folder), "--ca-key-passphrase-file", file],
    ...(old.length > 0 ? ["--old-passphrase-file", ...old] : []),
  ];
  copyFolder("plain", "enc");
  const serial = async (file: string): Promise<string> => {
    const issued = await remora(
      "cert",
      "issue",
      "--service",
      "web",
      "--ca-dir",
      at("enc"),
      "--out-dir",
      at("issued"),
      "--ca-key-passphrase-file",
      file,
    );
    t.equal(issued.code, 0, issued.err);
    return readFileSync(at("issued/bundle.pem"), "utf8");
  };
  const first = await remora(...encrypt("enc", one));
  t.equal(first.code, 0, first.err);
  t.match(
    first.out,
    /enc\/root\.key is encrypted\nstart the control plane with --ca-key-passphrase-file from now on\n$/,
  );
  t.equal(modeOf("enc/root.key"), 0o600);
  const bundle = await serial(one);
  const again = await remora(...encrypt("enc", one));
  t.equal(again.code, 0, "once more does no harm");
  const second = await remora(...encrypt("enc", two, one), "-o", "json");
  t.match(JSON.parse(second.out), { files: [at("enc/root.key")] });
  t.equal(await serial(two), bundle, "the same CA");
  copyFolder("enc", "loose-enc");
  chmodSync(at("loose-enc/root.key"), 0o604);
  copyFolder("enc", "cut-enc");
  secret("cut-enc/root.key", readFileSync(at("enc/root.key"), "utf8").slice(0, 100));
  copyFolder("plain", "keyless-enc");
  rmSync(at("keyless-enc/root.key"));
  await refuses(t, [
    [encrypt("enc", one), /root\.key: the private key is encrypted: .*; here: --old-passphrase-file/],
    [
      encrypt("enc", one, wrong),
      /root\.key: the passphrase does not open the private key, or the key is damaged/,
    ],
    [encrypt("enc", one, at("none")), /--old-passphrase-file: there is no/],
    [encrypt("enc", at("none"), two), /--ca-key-passphrase-file: there is no/],
    [encrypt("enc", open, two), /--ca-key-passphrase-file: .*chmod 600/],
    [encrypt("enc", one, open), /--old-passphrase-file: .*chmod 600/],
    [encrypt("loose-enc", one, two), /root\.key can be read by others \(mode 604\)/],
    [encrypt("cut-enc", one, two), /root\.key: the text is not a private key: it is cut off/],
    [encrypt("keyless-enc", one), /holds no key of a CA/],
    [encrypt("nowhere", one), /holds no key of a CA/],
  ]);
});

t.test("cert issue --out", async (t) => {
  const issue = (ca: string, out: string, ...flags: readonly string[]) => [
    ...["cert", "issue", "--service", "web", "--ca-dir", at(ca), "--out", at(out), ...flags],
  ];
  const key = ["--ca-key-passphrase-file", two];
  const first = await remora(...issue("ca", "web.p12", ...key));
  t.equal(first.code, 0, first.err);
  t.same([modeOf("web.p12"), modeOf("web.p12.passphrase")], [0o600, 0o600]);
  const passphrase = readFileSync(at("web.p12.passphrase"), "utf8");
  t.notOk(`${first.out}${first.err}`.includes(passphrase.trim()));
  const show = () =>
    spawnSync(
      "openssl",
      ["pkcs12", "-in", at("web.p12"), "-passin", `file:${at("web.p12.passphrase")}`, "-nokeys"],
      {
        encoding: "utf8",
      },
    );
  t.equal(show().stdout.match(/BEGIN CERTIFICATE/g)?.length, 3, "leaf, intermediate and root");
  const store = readFileSync(at("web.p12"));
  const again = await remora(...issue("ca", "web.p12", ...key));
  t.equal(again.code, 0, again.err);
  t.notOk(readFileSync(at("web.p12")).equals(store), "issued anew into the same file");
  t.equal(
    readFileSync(at("web.p12.passphrase"), "utf8"),
    passphrase,
    "whoever has the passphrase need not be told",
  );
  t.equal(show().status, 0, show().stderr);
  chmodSync(at("web.p12.passphrase"), 0o640);
  await refuses(t, [
    [
      issue("ca", "web.p12", ...key),
      /web\.p12\.passphrase can be read by others \(mode 640\): run chmod 600/,
    ],
    [issue("ca", "y.p12"), /intermediate\.key: the private key is encrypted: .*--ca-key-passphrase-file/],
    [issue("ca", "y.p12", "--ca-key-passphrase-file", wrong), /the passphrase does not open the private key/],
    [issue("ca", "y.p12", "--ca-key-passphrase-file", at("none")), /there is no/],
    [issue("loose-enc", "y.p12", ...key), /chmod 600/],
    [issue("keyless-enc", "y.p12", ...key), /root\.key is missing/],
    [issue("nowhere", "y.p12"), /nowhere holds no CA: make one with remora ca init/],
    [issue("ca", "y.txt", ...key), /must end in \.p12 or \.pfx/],
  ]);
  t.notOk(existsSync(at("y.p12")));
});

/** Keeps modes, unlike the copies of node:fs below a umask. */
function copyFolder(from: string, to: string): void {
  spawnSync("cp", ["-a", at(from), at(to)]);
}
