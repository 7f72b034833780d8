/** `remora ca encrypt-key` over the whole folder: what a crash in its midst leaves, and what it refuses. */
import { cp, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import t, { type Test } from "tap";
import { encryptCaKeys } from "../../../control-plane/ca/encrypt-key.js";
import { openJwtKeys } from "../../../control-plane/ca/jwt-keys.js";
import { openCaStore } from "../../../control-plane/ca/ca-store.js";
import { holderOf, lockDataDir } from "../../../control-plane/data-dir.js";
import { FakeClock } from "../../support/fake-clock.js";

const clock = new FakeClock(Date.now());
const names = ["root.key", path.join("next", "root.key"), "jwt-keys.json"];

const openStore = (dir: string, passphrase?: string) =>
  openCaStore({ dir, trustDomain: "mesh.local", passphrase, clock });

const openKeys = (dir: string, passphrase?: string) =>
  openJwtKeys({
    ...{ file: path.join(dir, "jwt-keys.json"), passphrase, clock },
    onError: (error) => {
      throw error;
    },
  });

/** As a control plane opens it. */
async function open(dir: string, passphrase?: string): Promise<readonly string[]> {
  const { active, other } = (await openStore(dir, passphrase)).state.get();
  const keys = await openKeys(dir, passphrase);
  keys.close();
  return [active.certificate.serial, other?.certificate.serial ?? "", keys.signer().kid];
}

/** A CA folder in the middle of a rotation: all the keys that there can be. */
async function caFolder(t: Test): Promise<string> {
  const dir = path.join(t.testdir(), "data", "ca");
  await mkdir(path.dirname(dir));
  await (await openStore(dir)).prepare(undefined);
  await open(dir);
  return dir;
}

t.test("every key of the folder is encrypted, and nothing else changes", async (t) => {
  const dir = await caFolder(t);
  const before = await open(dir);
  const files = await encryptCaKeys({ dir, passphrase: "one", oldPassphrase: undefined });
  t.same(
    files,
    names.map((name) => path.join(dir, name)),
  );
  for (const file of files) {
    t.match(await readFile(file, "utf8"), /BEGIN ENCRYPTED PRIVATE KEY/, file);
    t.notMatch(await readFile(file, "utf8"), /BEGIN PRIVATE KEY/, file);
    t.equal((await stat(file)).mode & 0o777, 0o600);
  }
  t.same(await open(dir, "one"), before);
  await encryptCaKeys({ dir, passphrase: "two", oldPassphrase: "one" });
  t.same(await open(dir, "two"), before);
});

t.test("cut short between any two files, it is completed by the same command", async (t) => {
  for (const [from, to] of [
    [undefined, "one"],
    ["one", "two"],
  ] as const) {
    const dir = await caFolder(t);
    const before = await open(dir);
    if (from !== undefined) await encryptCaKeys({ dir, passphrase: from, oldPassphrase: undefined });
    const old = `${dir}-old`;
    await cp(dir, old, { recursive: true });
    await encryptCaKeys({ dir, passphrase: to, oldPassphrase: from });
    const done = `${dir}-done`;
    await cp(dir, done, { recursive: true });
    for (let count = 1; count < names.length; count++) {
      const what = `${from ?? "plain"} to ${to}, ${count} files replaced`;
      for (const [index, name] of names.entries())
        await writeFile(path.join(dir, name), await readFile(path.join(index < count ? done : old, name)));
      const outcome = await open(dir, to).catch((error: unknown) => error);
      if (Array.isArray(outcome)) t.same(outcome, before, `${what}: it opens`);
      else
        t.match(
          outcome,
          { name: "ConfigError", message: /run it again$|encrypt it with remora ca encrypt-key/ },
          what,
        );
      await encryptCaKeys({ dir, passphrase: to, oldPassphrase: from });
      t.same(await open(dir, to), before, `${what}, then again`);
    }
  }
});

t.test("what it refuses stays as it is", async (t) => {
  const dir = await caFolder(t);
  await encryptCaKeys({ dir, passphrase: "one", oldPassphrase: undefined });
  const texts = () => Promise.all(names.map((name) => readFile(path.join(dir, name), "utf8")));
  const whole = await texts();
  const [, , jwt = ""] = whole;
  const cases: readonly (readonly [jwtText: string, oldPassphrase: string | undefined, message: RegExp])[] = [
    [jwt, undefined, /root\.key: the private key is encrypted.*here: --old-passphrase-file$/],
    [jwt, "wrong", /root\.key: the passphrase does not open the private key, or the key is damaged$/],
    [jwt.slice(0, 300), "one", /jwt-keys\.json is damaged: restore it/],
    [
      jwt.replace("END ENCRYPTED", "END"),
      "one",
      /jwt-keys\.json: the text is not a private key: it is cut off$/,
    ],
  ];
  for (const [text, oldPassphrase, message] of cases) {
    await writeFile(path.join(dir, "jwt-keys.json"), text);
    const before = await texts();
    await t.rejects(encryptCaKeys({ dir, passphrase: "two", oldPassphrase }), {
      name: "ConfigError",
      message,
    });
    t.same(await texts(), before, "not one of the files has changed");
  }
  const lock = await lockDataDir(path.dirname(dir));
  t.equal(await holderOf(path.dirname(dir)), String(process.pid));
  await t.rejects(encryptCaKeys({ dir, passphrase: "two", oldPassphrase: "one" }), {
    message: /is in use by a control plane \(process \d+\): stop it first/,
  });
  await lock.release();
  t.equal(await holderOf(path.dirname(dir)), undefined);
});
