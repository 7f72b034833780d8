// # runs beside others
/** `remora ca status|rotate|encrypt-key` against a control plane whose keys are encrypted, and its own starts, as real processes. */
import { randomUUID } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import t, { type Test } from "tap";
import type { RotationView } from "../../control-plane/ca/rotate.js";
import { startMesh } from "../support/cli-mesh.js";
import { runRemora, type Finished } from "../support/cli-process.js";
import { call } from "../support/http-load.js";

t.setTimeout(180_000);

const dir = t.testdir();
/** A passphrase in a file for one's own eyes. */
function secret(name: string, text: string): string {
  const file = path.join(dir, name);
  writeFileSync(file, text);
  chmodSync(file, 0o600);
  return file;
}

const [present, older, wrong] = [
  secret("present", "one\n"),
  secret("older", "one\n"),
  secret("wrong", "x\n"),
];
const mesh = await startMesh(t, { controlPlane: ["--ca-key-passphrase-file", present] });
const caDir = path.join(mesh.dataDir, "ca");
const keyFiles = (): readonly string[] =>
  readdirSync(caDir, { recursive: true, encoding: "utf8" }).filter((name) => /\.key$|^jwt-keys/.test(name));

async function view(): Promise<RotationView> {
  return JSON.parse((await mesh.remora(["ca", "status", "--output", "json"])).out) as RotationView;
}

function refused(t: Test, { code, err }: Finished, text: RegExp): void {
  t.equal(code, 1, err);
  t.match(err, text);
  t.equal(err.trim().split("\n").length, 1, err);
}

/** As a service manager would start it, on ports of its own. */
const start = (...flags: readonly string[]): Promise<Finished> =>
  runRemora({
    args: [
      ...["control-plane", "--data-dir", mesh.dataDir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
      ...flags,
    ],
  });

t.test("status and rotate: each step in its turn, each other refused in one line", async (t) => {
  const rotate = (...flags: readonly string[]): Promise<Finished> => mesh.remora(["ca", "rotate", ...flags]);
  const step = async (name: string): Promise<number> => {
    const { body } = await call({ port: mesh.adminPort, path: "/metrics" });
    return Number(new RegExp(`^remora_cp_ca_rotation_step\\{step="${name}"\\} (\\d)$`, "m").exec(body)?.[1]);
  };
  const first = await view();
  t.match(first, { step: "idle", next: null, previous: null, lagging: [], active: { kind: "root" } });
  const shown = await mesh.remora(["ca", "status"]);
  t.equal(shown.code, 0);
  t.match(
    shown.out,
    /^trust domain {2}mesh\.local\nrotation {6}no rotation under way\nsigns {9}root, valid until /,
  );
  refused(
    t,
    await rotate("--activate"),
    /no rotation of the CA is under way: begin one with remora ca rotate/,
  );
  refused(t, await rotate("--finish"), /no rotation/);
  refused(t, await rotate("--abort"), /no rotation/);
  t.equal((await rotate("--activate", "--finish")).code, 2);
  t.equal((await rotate("--force")).code, 2);

  const init = (name: string, passphrase: string, ...flags: readonly string[]): Promise<Finished> =>
    runRemora({
      args: ["ca", "init", "--dir", path.join(dir, name), "--ca-key-passphrase-file", passphrase, ...flags],
    });
  await init("locked", wrong);
  await init("loose", present);
  chmodSync(path.join(dir, "loose", "root.key"), 0o644);
  await init("foreign", present, "--trust-domain", "other.local");
  const from: readonly (readonly [folder: string, text: RegExp])[] = [
    ["nowhere", /nowhere holds no CA: make one with remora ca intermediate, or remora ca init/],
    ["locked", /root\.key: the passphrase does not open the private key/],
    ["loose", /loose\/root\.key can be read by others \(mode 644\): run chmod 600/],
    ["foreign", /holds the CA of trust domain other\.local, not mesh\.local/],
  ];
  for (const [folder, text] of from) {
    refused(t, await rotate("--from", path.join(dir, folder)), text);
    t.same(await view(), first, `${folder}: nothing has changed`);
  }

  t.match((await rotate()).out, /rotation {6}distributed: .*\n.*\nnext {10}root, valid until/);
  t.same([await step("distributed"), await step("idle")], [1, 0]);
  refused(t, await rotate(), /a rotation is prepared already: go on with remora ca rotate --activate/);
  t.match((await rotate("--abort")).out, /no rotation under way/);
  t.same((await view()).active, first.active);
  await rotate();
  t.match((await rotate("--activate")).out, /rotation {6}renewed: /);
  t.equal(await step("renewed"), 1);
  refused(t, await rotate("--abort"), /the new CA signs already: go on with remora ca rotate --finish/);
  for (const name of keyFiles())
    t.match(readFileSync(path.join(caDir, name), "utf8"), /BEGIN ENCRYPTED PRIVATE KEY/, name);
  t.match((await rotate("--finish")).out, /no rotation under way/);
  const second = await view();
  t.not(second.active.rootFingerprint, first.active.rootFingerprint);
  const auto = await rotate("--auto");
  t.match(auto.out, /^prepared: .*\nactive: .*\n/);
  t.not((await view()).active.rootFingerprint, second.active.rootFingerprint);
  t.equal(await step("idle"), 1);

  const token = path.join(dir, "viewer");
  await mesh.remora(["admin-token", "create", "--name", "viewer", "--role", "view", "--out", token]);
  const asViewer = (...args: readonly string[]): Promise<Finished> =>
    runRemora({ args: [...args, ...mesh.client.slice(0, 2), "--admin-token-file", token] });
  t.equal((await asViewer("ca", "status")).code, 0);
  refused(t, await asViewer("ca", "rotate"), /admin/);
  t.equal((await view()).step, "idle");
});

t.test(
  "encrypt-key: not under a control plane that runs; then its keys open with the new passphrase only",
  async (t) => {
    const kids = async (): Promise<unknown> => {
      const { keys } = JSON.parse((await mesh.remora(["federation", "bundle"])).out) as {
        readonly keys: readonly { readonly kid?: string }[];
      };
      return keys.map(({ kid }) => kid).filter((kid) => kid !== undefined);
    };
    const before = { ca: (await view()).active, kids: await kids() };
    const next = secret("next", "two\n");
    const encrypt = (old: string): Promise<Finished> =>
      runRemora({
        args: [
          "ca",
          "encrypt-key",
          "--dir",
          caDir,
          "--ca-key-passphrase-file",
          next,
          "--old-passphrase-file",
          old,
        ],
      });
    refused(t, await encrypt(older), /is in use by a control plane \(process \d+\): stop it first/);
    await mesh.controlPlaneProcess?.stop();
    refused(t, await mesh.remora(["ca", "status"]), /cannot be reached|ECONNREFUSED/);
    refused(t, await encrypt(wrong), /root\.key: the passphrase does not open the private key/);
    const done = await encrypt(older);
    t.equal(done.code, 0, done.err);
    t.match(done.out, /ca\/root\.key is encrypted\n.*ca\/jwt-keys\.json is encrypted\n/);

    const whole = readFileSync(path.join(caDir, "jwt-keys.json"), "utf8");
    const texts = (): readonly string[] =>
      keyFiles().map((name) => readFileSync(path.join(caDir, name), "utf8"));
    const cases: readonly (readonly [flags: readonly string[], jwt: string, text: RegExp])[] = [
      [["--ca-key-passphrase-file", older], whole, /root\.key: the passphrase does not open the private key/],
      [[], whole, /root\.key: the private key is encrypted: .*--ca-key-passphrase-file/],
      [["--ca-key-passphrase-file", path.join(dir, "none")], whole, /--ca-key-passphrase-file: there is no/],
      [["--ca-key-passphrase-file", next], whole.slice(0, 200), /jwt-keys\.json is damaged: restore it/],
      [["--ca-key-passphrase-file", next], "", /jwt-keys\.json is damaged: restore it/],
    ];
    for (const [flags, jwt, text] of cases) {
      writeFileSync(path.join(caDir, "jwt-keys.json"), jwt);
      const files = texts();
      refused(t, await start(...flags), text);
      t.same(texts(), files, "nothing is overwritten");
    }
    writeFileSync(path.join(caDir, "jwt-keys.json"), whole);
    writeFileSync(present, "two\n");
    await mesh.startControlPlane();
    t.same({ ca: (await view()).active, kids: await kids() }, before, "the same CA and the same keys");
  },
);

t.test("after a kill the next start removes half-written files of its own, and no others", async (t) => {
  mesh.controlPlaneProcess?.signal("SIGKILL");
  await mesh.controlPlaneProcess?.exited;
  const draft = (name: string): string => path.join(mesh.dataDir, `${name}.${randomUUID()}.tmp`);
  const ours = [
    draft("tokens.json"),
    draft("ca/root.key"),
    draft("ca/jwt-keys.json"),
    path.join(draft("ca/next"), "root.key"),
  ];
  const others = [
    path.join(mesh.dataDir, "notes.tmp"),
    path.join(caDir, "root.key.bak"),
    draft("policies/own.yaml"),
  ];
  const past = Date.now() / 1000 - 120;
  for (const file of [...ours, ...others]) {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, "half a key", { mode: 0o600 });
    utimesSync(file, past, past);
    if (path.dirname(file).endsWith(".tmp")) utimesSync(path.dirname(file), past, past);
  }
  await mesh.startControlPlane();
  t.same(ours.filter(existsSync), []);
  t.same(
    others.filter((file) => !existsSync(file)),
    [],
  );
});
