import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import t from "tap";
import { openCallFiles } from "../../control-plane/observation/call-files.js";
import { CallTable, retentionMs, tableLimits } from "../../control-plane/observation/call-table.js";
import { readReport } from "../../control-plane/observation/read-report.js";
import type { ReportedCall } from "../../src/discovery/proto/observation.js";
import type { ObservedCall } from "../../src/policy/call-recorder.js";
import { FakeClock } from "../support/fake-clock.js";

const web = "spiffe://mesh.test/ns/default/svc/web";
const api = { service: "api", namespace: "default" };
const call: ObservedCall = {
  ...{ caller: web, method: "GET", path: "/a", port: 80 },
  ...{ protocol: "http", verdict: "allow", rule: "", count: 1 },
};

t.test("reports add up, with the times of the first and the last", async (t) => {
  const table = new CallTable();
  table.report(api, [call, { ...call, method: "POST" }], 0, 1000);
  table.report(api, [{ ...call, count: 2 }], 5, 2000);
  t.same(table.of(api), {
    ...api,
    sinceMs: 1000,
    lastReportMs: 2000,
    lost: 5,
    calls: [
      { ...call, count: 3, firstSeenMs: 1000, lastSeenMs: 2000 },
      { ...call, method: "POST", firstSeenMs: 1000, lastSeenMs: 1000 },
    ],
  });
  table.expire(1000 + retentionMs + 1);
  t.same(
    table.of(api)?.calls.map(({ method }) => method),
    ["GET"],
    "what nobody has called for long is forgotten",
  );
  table.expire(2000 + retentionMs + 1);
  t.equal(table.of(api), undefined);
});

t.test("whatever is reported, the table has a bound", async () => {
  const word = fc.stringMatching(/^[a-z]{1,3}$/);
  fc.assert(
    fc.property(fc.array(fc.tuple(word, word, word), { minLength: 3000, maxLength: 5000 }), (calls) => {
      const table = new CallTable();
      const lost = table.report(
        api,
        calls.map(([caller, rule, name]) => ({ ...call, caller, rule, path: `/${name}` })),
        0,
        0,
      );
      const seen = table.of(api)?.calls ?? [];
      return (
        seen.length <= tableLimits.calls &&
        new Set(seen.map((each) => each.path)).size <= tableLimits.shapes + 1 &&
        new Set(seen.map((each) => each.caller)).size <= tableLimits.callers + 1 &&
        seen.reduce((sum, { count }) => sum + count, 0) + lost === calls.length
      );
    }),
    { numRuns: 10 },
  );
});

t.test("what a sidecar reports is checked, and folded again", async (t) => {
  const rows: readonly (readonly [Partial<ReportedCall>, string | undefined])[] = [
    [{}, undefined],
    [{ caller: "" }, undefined],
    [{ caller: "__other__", method: "__other__", path: "__other__" }, undefined],
    [{ protocol: "tcp", method: "", path: "" }, undefined],
    [{ caller: "web" }, "caller"],
    [{ caller: `spiffe://mesh.test/${"a".repeat(3000)}` }, "caller"],
    [{ method: "get" }, "method"],
    [{ method: "A".repeat(40) }, "method"],
    [{ path: "a" }, "path"],
    [{ path: "/a\u001b[2J" }, "path"],
    [{ path: `/${"a".repeat(1024)}` }, "path"],
    [{ protocol: "tcp" }, "method"],
    [{ port: 0 }, "port"],
    [{ protocol: "udp" }, "protocol"],
    [{ verdict: "maybe" }, "verdict"],
    [{ rule: "a\nb" }, "rule"],
    [{ rule: "a".repeat(513) }, "rule"],
    [{ count: 0 }, "count"],
  ];
  for (const [change, wrong] of rows) {
    const read = readReport({ calls: [{ ...call, ...change }], lost: 0 });
    if (wrong === undefined) t.ok(Array.isArray(read), JSON.stringify(change));
    else t.equal(read, `calls[0].${wrong} is not acceptable`);
  }
  t.match(readReport({ calls: [{ ...call, path: "/users/42" }], lost: 0 }), [{ path: "/users/*" }]);
  t.equal(
    readReport({ calls: Array.from({ length: 1001 }, () => call), lost: 0 }),
    "more than 1000 calls in a report",
  );
});

t.test("the files: private, over a restart, and a damaged one is put aside", async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), "remora-observed-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const dir = path.join(folder, "observed");
  const clock = new FakeClock();
  const problems: string[] = [];
  const options = { dir, clock, onProblem: (text: string) => problems.push(text) };
  const first = await openCallFiles(options);
  first.report(api, [call], 2);
  const before = first.table.of(api);
  await first.close();
  t.same(await readdir(dir), ["default~api.json"]);
  t.equal((await stat(path.join(dir, "default~api.json"))).mode & 0o777, 0o600);

  const second = await openCallFiles(options);
  t.same(second.table.of(api), before);
  await second.close();

  const file = path.join(dir, "default~api.json");
  const whole = await readFile(file, "utf8");
  for (const damaged of [whole.slice(0, 40), "{}", "null", whole.replace('"GET"', '"get"')]) {
    await writeFile(file, damaged);
    const third = await openCallFiles(options);
    t.same(third.table.services(), []);
    await third.close();
    t.match(problems.pop(), /default~api\.json is damaged and put aside/);
    t.equal(await readFile(`${file}.damaged`, "utf8"), damaged);
  }
});
