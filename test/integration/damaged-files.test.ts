// # runs beside others
/** Damaged files, by the real commands: one line that names the file, exit code 1, and not a byte of what is there is overwritten. */
import { cpSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { startMesh } from "../support/cli-mesh.js";
import { runRemora, type Finished } from "../support/cli-process.js";
import { until } from "../support/until.js";

const mesh = await startMesh(t);
const api = await mesh.join({ name: "api", service: "api" });
await mesh.token("shop");
await until("a saved configuration", () => existsSync(path.join(api.stateDir, "snapshot")));
const web = await mesh.join({ name: "web", service: "web" });
await mesh.remora(["cert", "revoke", "--service", "web", "--reason", "test"]);
await Promise.all([api.process.stop(), web.process.stop(), mesh.controlPlaneProcess?.stop()]);

type Damage = (bytes: Buffer) => Buffer;
const half: Damage = (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2));
const empty: Damage = () => Buffer.alloc(0);
const noise: Damage = (bytes) => Buffer.from(bytes.map((byte, at) => (at % 7 === 0 ? byte ^ 0x55 : byte)));
const wrongJson: Damage = () => Buffer.from('{"version":1,"tokens":[{"hash":"x"}]}');
const otherJson: Damage = () => Buffer.from("[]");
const notJson: Damage = () => Buffer.from("{version: 1");

/** A copy of a folder with one file damaged; runs `start` on it and says what became of it. */
async function withDamage(
  folder: string,
  file: string,
  damage: Damage,
  start: (copy: string) => Promise<Finished>,
): Promise<Finished & { readonly isUntouched: boolean }> {
  const copy = path.join(mesh.dir, `copy-${Math.random().toString(36).slice(2)}`);
  cpSync(folder, copy, { recursive: true });
  const place = path.join(copy, file);
  const { mode } = statSync(path.join(folder, file));
  const damaged = damage(readFileSync(place));
  writeFileSync(place, damaged, { mode });
  const finished = await start(copy);
  return { ...finished, isUntouched: readFileSync(place).equals(damaged) };
}

const controlPlane = (copy: string): Promise<Finished> =>
  runRemora({
    args: ["control-plane", "--data-dir", copy, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
    timeoutMs: 15_000,
  });

t.test("the control plane refuses a damaged file of its own", async (t) => {
  const rows: readonly (readonly [file: string, damages: Readonly<Record<string, Damage>>, text: RegExp])[] =
    [
      [
        "ca/root.key",
        { half, empty, noise },
        /the CA in .*\/ca cannot be used: .*; restore it from a backup/,
      ],
      [
        "ca/root.crt",
        { half, empty, noise },
        /the CA in .*\/ca cannot be used: .*; restore it from a backup/,
      ],
      ["tokens.json", { half, notJson, wrongJson, otherJson, empty }, /tokens\.json is damaged: /],
      ["revoked.json", { half, notJson, otherJson, empty }, /revoked\.json is damaged: /],
      ["ca/jwt-keys.json", { half, notJson, otherJson, empty }, /jwt-keys\.json is damaged: /],
      ["admin.token", { empty, half }, /admin\.token/],
    ];
  for (const [file, damages, text] of rows)
    for (const [how, damage] of Object.entries(damages)) {
      const { code, err, isUntouched } = await withDamage(mesh.dataDir, file, damage, controlPlane);
      t.equal(code, 1, `${file}, ${how}: it does not start`);
      t.match(err, text, `${file}, ${how}: it says which`);
      t.equal(err.trim().split("\n").length, 1, `${file}, ${how}: one line: ${err}`);
      t.notMatch(err, /PRIVATE KEY|MII/, `${file}, ${how}: nothing of it is quoted`);
      t.ok(isUntouched, `${file}, ${how}: it is not overwritten`);
    }
});

t.test("a sidecar refuses a damaged identity", async (t) => {
  const sidecar = (copy: string): Promise<Finished> => {
    const args = api.args.map((arg, at) => (api.args[at - 1] === "--state-dir" ? copy : arg));
    return runRemora({ args, env: api.env, timeoutMs: 15_000 });
  };
  const noKey: Damage = (bytes) =>
    Buffer.from(bytes.toString().replace(/-----BEGIN PRIVATE[^]*?END PRIVATE KEY-----\n/, ""));
  for (const [how, damage] of Object.entries({ half, empty, noise, noKey })) {
    const { code, err, isUntouched } = await withDamage(api.stateDir, "svid.pem", damage, sidecar);
    t.equal(code, 1, `${how}: it does not start`);
    t.match(err, /svid\.pem is damaged \(.*\): remove the file and start again with a new join token/, how);
    t.equal(err.trim().split("\n").length, 1, `${how}: one line: ${err}`);
    t.ok(isUntouched, `${how}: it is not overwritten`);
  }
});

t.test(
  "a sidecar without its control plane says which saved configuration it cannot use, and keeps the file",
  async (t) => {
    for (const [file, text] of [
      ["snapshot", /snapshot: .*(damaged|checksum|not|cannot)/],
      ["trust", /trust: not used until the control plane answers/],
    ] as const)
      for (const [how, damage] of Object.entries({ half, empty, noise })) {
        const start = async (copy: string): Promise<Finished> => {
          const args = api.args.map((arg, at) => (api.args[at - 1] === "--state-dir" ? copy : arg));
          const flags = ["--ready-timeout", "3s"];
          const at = args.indexOf("--");
          const process = mesh.start(
            path.basename(copy),
            [...args.slice(0, at), ...flags, ...args.slice(at)],
            api.env,
          );
          await until(`${file}, ${how}: told`, () => text.test(process.log), 15_000);
          await process.stop();
          return { code: 1, signal: null, out: "", err: process.log, tookMs: 0 };
        };
        const { err, isUntouched } = await withDamage(api.stateDir, file, damage, start);
        t.equal(err.split("\n").filter((line) => text.test(line)).length, 1, `${file}, ${how}: one line`);
        t.ok(isUntouched, `${file}, ${how}: it is not overwritten`);
      }
  },
);
