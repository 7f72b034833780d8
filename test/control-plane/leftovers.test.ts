/** What a killed control plane left of its half-finished writes goes at the next start; nothing else does. */
import { randomUUID } from "node:crypto";
import {
  existsSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import t from "tap";
import { sweepLeftovers } from "../../control-plane/leftovers.js";
import { FakeClock } from "../support/fake-clock.js";
import { until } from "../support/until.js";

const draftOf = (name: string): string => `${name}.${randomUUID()}.tmp`;

function put(file: string, writtenMs: number): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, "half a key", { mode: 0o600 });
  utimesSync(file, writtenMs / 1000, writtenMs / 1000);
}

t.test("only names that are ours, only where we write, and not what is being written", async (t) => {
  const clock = new FakeClock(Date.now());
  const old = clock.wallMs() - 61_000;
  const dir = t.testdir();
  const ours = [
    draftOf("tokens.json"),
    draftOf("ca/root.key"),
    draftOf("ca/next/root.key"),
    draftOf("observed/x"),
  ];
  const kept = [
    "notes.tmp",
    `${randomUUID()}.tmp`,
    `${draftOf("tokens.json")}.bak`,
    `ca/root.key.${randomUUID()}`,
    "ca/root.key.00000000-0000-0000-0000-00000000000G.tmp",
    draftOf("policies/mine.yaml"),
    draftOf("backup/root.key"),
  ];
  for (const name of [...ours, ...kept]) put(path.join(dir, name), old);
  const folder = draftOf("ca/next");
  put(path.join(dir, folder, "root.key"), old);
  utimesSync(path.join(dir, folder), old / 1000, old / 1000);
  const young = draftOf("ca/jwt-keys.json");
  put(path.join(dir, young), clock.wallMs());
  const link = path.join(dir, draftOf("admin.token"));
  symlinkSync(path.join(dir, "backup"), link);
  lutimesSync(link, old / 1000, old / 1000);

  const end = await sweepLeftovers(dir, clock);
  t.teardown(end);
  const left = (): readonly string[] =>
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map((each) => path.relative(dir, path.join(each.parentPath, each.name)))
      .sort();
  t.same(left(), [...kept, young].sort());
  t.notOk(existsSync(link), "a link goes, not what it leads to");
  clock.advance(120_000);
  await until("what was too young has gone", () => left().length === kept.length);
  t.same(left(), [...kept].sort());
});
