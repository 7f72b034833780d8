/** Append-only files: what is on the disk after a crash, on a full disk, and when a part is closed. */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import t from "tap";
import { openJsonLines, type JsonLines } from "../../control-plane/json-lines.js";
import { FakeClock } from "../support/fake-clock.js";

interface Entry {
  readonly n: number;
  readonly until: number;
}

const isEntry = (value: unknown): value is Entry =>
  typeof value === "object" && value !== null && typeof (value as Partial<Entry>).n === "number";

function openLines(folder: string, clock: FakeClock, more: { maxBytes?: number; keepParts?: number } = {}) {
  return openJsonLines<Entry>({
    ...{ folder, name: "entries", what: "the log", clock },
    parse: (value) => (isEntry(value) ? value : undefined),
    neededUntilMs: ({ until }) => until,
    ...more,
  });
}

async function numbers(lines: JsonLines<Entry>): Promise<number[]> {
  const found: number[] = [];
  for await (const { n } of lines.read()) found.push(n);
  return found;
}

t.test("entries are there in order, also after a new start, and for nobody else to read", async (t) => {
  const folder = t.testdir();
  const clock = new FakeClock();
  const lines = openLines(folder, clock);
  t.same(await numbers(lines), [], "nothing yet");
  await Promise.all(Array.from({ length: 50 }, (_, n) => lines.append({ n, until: 0 })));
  const all = Array.from({ length: 50 }, (_, n) => n);
  t.same(await numbers(lines), all);
  t.same(await numbers(openLines(folder, clock)), all);
  t.equal(statSync(path.join(folder, "entries.jsonl")).mode & 0o777, 0o600);
});

t.test("a last line that a crash has cut off costs that line and no other", async (t) => {
  const folder = t.testdir();
  const lines = openLines(folder, new FakeClock());
  await lines.append({ n: 1, until: 0 });
  appendFileSync(path.join(folder, "entries.jsonl"), '{"n":2,"unt');
  t.same(await numbers(lines), [1]);
  await lines.append({ n: 3, until: 0 });
  t.same(await numbers(lines), [1, 3]);
  t.match(readFileSync(path.join(folder, "entries.jsonl"), "utf8"), '{"n":2,"unt\n{"n":3,');
});

t.test("lines that are no entries are left out", async (t) => {
  const folder = t.testdir({ "entries.jsonl": 'null\n[]\n\n"x"\n{"n":"1"}\n{"n":7}\n\x00\x00\n' });
  t.same(await numbers(openLines(folder, new FakeClock())), [7]);
});

t.test("a full disk refuses, with one line that says what to do", async (t) => {
  const folder = t.testdir();
  symlinkSync("/dev/full", path.join(folder, "entries.jsonl"));
  const lines = openLines(folder, new FakeClock());
  await t.rejects(lines.append({ n: 1, until: 0 }), {
    name: "ConfigError",
    message: /^the log cannot be written \(.*entries\.jsonl: ENOSPC\): free space on its disk$/,
  });
  rmSync(path.join(folder, "entries.jsonl"));
  await lines.append({ n: 2, until: 0 });
  t.same(await numbers(lines), [2], "it goes on when there is space again");
});

t.test("a folder that is gone refuses too", async (t) => {
  const folder = path.join(t.testdir(), "gone");
  const lines = openLines(folder, new FakeClock());
  await t.rejects(lines.append({ n: 1, until: 0 }), { message: /ENOENT/ });
  t.same(await numbers(lines), []);
  mkdirSync(folder);
  await lines.append({ n: 1, until: 0 });
  t.same(await numbers(lines), [1]);
});

t.test("parts are closed by size, and kept while one of their entries is needed", async (t) => {
  const folder = t.testdir();
  const clock = new FakeClock();
  const lines = openLines(folder, clock, { maxBytes: 200, keepParts: 1 });
  const long = clock.wallMs() + 1_000_000;
  for (let n = 0; n < 40; n++) {
    await lines.append({ n, until: n === 3 ? long : clock.wallMs() + 10 });
    clock.advance(5);
  }
  const left = await numbers(lines);
  t.ok(left.includes(3), "the part with the entry that is needed is there");
  t.ok(left.length < 40 && left.includes(39), "others are gone");
  t.same(
    [...left].sort((a, b) => a - b),
    left,
    "in order",
  );
  t.ok(readdirSync(folder).length <= 5, readdirSync(folder).join());
  clock.advance(2_000_000);
  for (let n = 40; n < 60; n++) await lines.append({ n, until: clock.wallMs() - 1 });
  t.notOk((await numbers(lines)).includes(3), "no longer needed");
});

t.test("a file with a name alike is no part", async (t) => {
  const folder = t.testdir();
  for (const name of ["entries.x.1.jsonl", "entries.1.jsonl", "entries.1.2.jsonl.bak", "other.1.2.jsonl"])
    writeFileSync(path.join(folder, name), '{"n":1,"until":0}\n');
  writeFileSync(path.join(folder, "entries.5.9.jsonl"), '{"n":2,"until":9}\n');
  t.same(await numbers(openLines(folder, new FakeClock())), [2]);
});

t.test("a look does not miss what is closed as a part meanwhile", async (t) => {
  const folder = t.testdir();
  const lines = openLines(folder, new FakeClock(), { maxBytes: 100_000 });
  await Promise.all(Array.from({ length: 2000 }, (_, n) => lines.append({ n, until: 0 })));
  const seen: number[] = [];
  for await (const { n } of lines.read()) {
    // The next one closes the part that is being read.
    if (seen.push(n) === 10)
      await lines.append({ n: 2000, until: 0 }).then(() => lines.append({ n: 2001, until: 0 }));
  }
  for (let n = 0; n < 2000; n++) if (seen[n] !== n) t.fail(`${n} is missing or twice`);
  t.equal(seen.filter((n) => n < 2000).length, 2000);
});
