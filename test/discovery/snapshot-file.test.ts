import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import t from "tap";
import type { Test } from "tap";
import { openSnapshotFile } from "../../src/discovery/snapshot-file.js";
import type { SnapshotFile } from "../../src/discovery/snapshot-file.js";
import { arbitrarySnapshot } from "../support/arbitrary-snapshot.js";
import { exampleSnapshot } from "../support/example-snapshot.js";
import { FakeClock } from "../support/fake-clock.js";

interface Place {
  readonly stateDir: string;
  readonly file: string;
  readonly clock: FakeClock;
  readonly problems: string[];
  open(maxBytes?: number): SnapshotFile;
}

async function place(t: Test): Promise<Place> {
  const folder = await mkdtemp(path.join(os.tmpdir(), "remora-snapshot-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const stateDir = path.join(folder, "state");
  const clock = new FakeClock();
  const problems: string[] = [];
  const open = (maxBytes?: number): SnapshotFile =>
    openSnapshotFile({
      stateDir,
      clock,
      onProblem: (problem) => problems.push(problem),
      ...(maxBytes !== undefined && { maxBytes }),
    });
  return { stateDir, file: path.join(stateDir, "snapshot"), clock, problems, open };
}

t.test("gives back what was saved, and when", async (t) => {
  const { file, stateDir, clock, problems, open } = await place(t);
  t.equal(await open().load(), undefined, "none at first");
  const [snapshot] = fc.sample(arbitrarySnapshot, { numRuns: 1, seed: 7 });
  if (snapshot === undefined) throw new Error("no sample");
  const writer = open();
  writer.save(snapshot);
  await writer.close();
  t.same(await open().load(), { snapshot, savedAtMs: clock.wallMs() });
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.equal((await stat(stateDir)).mode & 0o777, 0o700);
  t.same(await readdir(stateDir), ["snapshot"], "no temporary file is left");
  t.same(problems, []);
});

t.test("many saves are few writes, and the newest wins", async (t) => {
  const { clock, open } = await place(t);
  const writer = open();
  const versionOnDisk = async (): Promise<string | undefined> => (await open().load())?.snapshot.version;
  writer.save(exampleSnapshot({ version: "1" }));
  await writer.close();
  t.equal(await versionOnDisk(), "1");

  const busy = open();
  for (let i = 2; i <= 100; i++) busy.save(exampleSnapshot({ version: String(i) }));
  clock.advance(999);
  busy.save(exampleSnapshot({ version: "last" }));
  t.equal(clock.pendingTimers, 1, "one pause at a time");
  await busy.close();
  t.equal(await versionOnDisk(), "last");
  busy.save(exampleSnapshot({ version: "too late" }));
  clock.advance(10_000);
  await busy.close();
  t.equal(await versionOnDisk(), "last");
});

t.test("a damaged, foreign or oversized file is reported and not used", async (t) => {
  const { file, problems, open } = await place(t);
  const writer = open();
  writer.save(exampleSnapshot({ version: "1" }));
  await writer.close();
  const good = await readFile(file);
  const flipped = Buffer.from(good);
  flipped[good.length - 1] = (flipped[good.length - 1] ?? 0) ^ 1;
  const cases: readonly [what: string, bytes: Buffer, problem: RegExp][] = [
    ["empty", Buffer.alloc(0), /does not begin with remora-snapshot\/1/],
    ["cut off", good.subarray(0, good.length / 2), /damaged/],
    ["a flipped bit", flipped, /damaged/],
    ["another format", Buffer.concat([Buffer.from("remora-snapshot/2 x\n"), good]), /does not begin/],
    ["text", Buffer.from('{"version": 1}'), /does not begin/],
  ];
  for (const [what, bytes, problem] of cases) {
    problems.length = 0;
    await writeFile(file, bytes);
    t.equal(await open().load(), undefined, what);
    t.equal(problems.length, 1);
    t.match(problems[0], problem);
    t.ok(problems[0]?.startsWith(`${file}: `));
  }
  problems.length = 0;
  await writeFile(file, good);
  t.equal(await open(good.length - 1).load(), undefined, "too large");
  t.match(problems, [/bytes are more than/]);
  t.equal((await open().load())?.snapshot.version, "1", "the very same file is fine");
});

t.test("a disk that takes nothing costs a log line and keeps the old file", async (t) => {
  const { stateDir, file, problems, open } = await place(t);
  const small = open(10);
  small.save(exampleSnapshot({ version: "1" }));
  await small.close();
  t.match(problems, [/cannot be kept for a restart: \d+ bytes are more than 10/]);
  problems.length = 0;
  // A folder in the file's place: the rename fails, also for root.
  await mkdir(path.join(file, "x"), { recursive: true });
  await chmod(stateDir, 0o700);
  const writer = open();
  writer.save(exampleSnapshot({ version: "1" }));
  await writer.close();
  t.match(problems, [/cannot be kept for a restart/]);
  t.same(await readdir(stateDir), ["snapshot"], "no temporary file is left");
  problems.length = 0;
  t.equal(await open().load(), undefined);
  t.equal(problems.length, 1);
});
