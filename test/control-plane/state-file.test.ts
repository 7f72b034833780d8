/** Files of the control plane's own state: read back as written, and never taken for none when something is wrong. */
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import t from "tap";
import { replaceFiles } from "../../certs/secret-file.js";
import { damagedState, readStateFile, writeStateFile } from "../../control-plane/state-file.js";
import { ConfigError } from "../../src/errors/config-error.js";

const state = {
  parse: ({ names }: Readonly<Record<string, unknown>>) => (Array.isArray(names) ? names : undefined),
  fix: "restore it from a backup",
};

t.test("what was written is read; what is damaged is named and left alone", async (t) => {
  const file = path.join(t.testdir(), "state.json");
  t.equal(await readStateFile(file, state), undefined, "there is none yet");
  await writeStateFile(file, { names: ["a"] });
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.equal(await readFile(file, "utf8"), '{\n "version": 1,\n "names": [\n  "a"\n ]\n}\n');
  t.same(await readStateFile(file, state), ["a"]);
  await writeFile(file, '{"names":["b"]}');
  t.same(await readStateFile(file, state), ["b"], "a file without a version is of the first one");
  for (const text of ["", "{", "null", "[]", "1", '"x"', "{}", '{"version":2,"names":[]}', '{"names":{}}']) {
    await writeFile(file, text);
    const error: unknown = await readStateFile(file, state).catch((cause: unknown) => cause);
    t.ok(error instanceof ConfigError, text);
    t.equal((error as Error).message, `${file} is damaged: restore it from a backup`);
    t.equal((error as Error).cause, undefined, "nothing of the file is quoted");
    t.equal(await readFile(file, "utf8"), text);
  }
  await chmod(file, 0o640);
  await t.rejects(readStateFile(file, state), { name: "ConfigError", message: /run chmod 600/ });
  t.equal(damagedState("f", "mend it", "too old").message, "f is damaged (too old): mend it");
});

t.test("any fields come back; any text gives fields or one line", async (t) => {
  const file = path.join(t.testdir(), "state.json");
  const all = { parse: (fields: Readonly<Record<string, unknown>>) => fields, fix: "mend it" };
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue()), async (fields) => {
      const { version: _version, ...own } = fields;
      await writeStateFile(file, own);
      t.same(JSON.stringify(await readStateFile(file, all)), JSON.stringify({ version: 1, ...own }));
    }),
    { numRuns: 50 },
  );
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
      await writeFile(file, text, { mode: 0o600 });
      await readStateFile(file, all).catch((error: unknown) => {
        t.ok(error instanceof ConfigError);
        t.equal((error as Error).message.split("\n").length, 1);
      });
    }),
    { numRuns: 100 },
  );
});

t.test("of several files all change or none, and nothing is left beside them", async (t) => {
  const dir = t.testdir({ a: "old a", b: "old b" });
  const [a, b] = [path.join(dir, "a"), path.join(dir, "b")];
  await t.rejects(
    replaceFiles([
      { file: a, content: "new a" },
      { file: path.join(dir, "none", "b"), content: "new b" },
    ]),
    { code: "ENOENT" },
  );
  t.equal(await readFile(a, "utf8"), "old a");
  t.same(await readdir(dir), ["a", "b"]);
  await replaceFiles([
    { file: a, content: "new a" },
    { file: b, content: "new b", mode: 0o644 },
  ]);
  t.same([await readFile(a, "utf8"), await readFile(b, "utf8")], ["new a", "new b"]);
  t.same([(await stat(a)).mode & 0o777, (await stat(b)).mode & 0o777], [0o600, 0o644]);
  t.same(await readdir(dir), ["a", "b"]);
});
