/** `make bench` in a short form: it measures what it says, and leaves nothing behind. Figures are not judged: that is the benchmark's own business. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { readH2load } from "../../bench/load/h2load.js";
import { median, quantile } from "../../bench/median.js";
import { commandOf, readOptions, readTimes } from "../../bench/options.js";
import { groupPerf, groupV8 } from "../../bench/profile-groups.js";
import { cpuTicks, processUsage, statusBytes } from "../../bench/process-usage.js";
import type { Report } from "../../bench/report.js";
import type { Row } from "../../bench/rounds.js";
import { findings, summarize, type Http1Figures, type Http1Round } from "../../bench/suites/http1.js";
import { reportMarkdown, reportText } from "../../bench/table.js";
import { judge, type Target } from "../../bench/target.js";

const bench = path.resolve(import.meta.dirname, "../../bench/bench.js");
/** Several programs start here, one after the other; a machine at work takes its time for that. */
t.setTimeout(240_000);
const isLinux = process.platform === "linux";

interface Run {
  readonly child: ChildProcess;
  /** Exit code, and everything that was printed. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
}

function startBench(dir: string, env: Readonly<Record<string, string>>): Run {
  const child = spawn(process.execPath, [bench], {
    env: { ...process.env, TMPDIR: dir, BENCH_ROUNDS: "1", BENCH_SECONDS: "0.3", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  return { child, ended: once(child, "close").then(([code]) => ({ code: code as number | null, output })) };
}

/** Processes that were started with a file in `dir`, as all of the benchmark's are. */
function processesOf(dir: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "latin1")];
      } catch {
        return []; // ended meanwhile
      }
    })
    .filter((line) => line.includes(dir));
}

t.test(
  "a short run gives complete rows and leaves nothing behind",
  { skip: !isLinux && "needs /proc", timeout: 180_000 },
  async (t) => {
    const dir = t.testdir({ tmp: {}, results: {} });
    const tmp = path.join(dir, "tmp");
    const { code, output } = await startBench(tmp, {
      BENCH_SUITES: "http1,fleet",
      BENCH_ONLY: "Remora,http-proxy",
      BENCH_SERVICES: "12",
      BENCH_SIDECARS: "6",
      BENCH_RESULTS: path.join(dir, "results"),
    }).ended;
    t.equal(code, 0, `succeeds: ${output}`);
    const json = readFileSync(path.join(dir, "results", fileIn(path.join(dir, "results"))), "utf8");
    const { suites } = JSON.parse(json) as Report;
    t.same(
      suites.flatMap(({ gaps }) => gaps).filter((gap) => !gap.startsWith("Consul: no consul")),
      [],
      "nothing is missing",
    );
    t.same(
      suites.map(({ name, isRemoraMeasured }) => [name, isRemoraMeasured]),
      [
        ["http1", true],
        ["fleet", true],
      ],
    );
    const rows = suites[0]?.data as readonly Row<Http1Figures, Http1Round>[];
    t.same(
      rows.map(({ name, state }) => [name, state]),
      [
        ["Remora", "measured"],
        ["http-proxy", "measured"],
      ],
    );
    for (const row of rows) {
      if (row.state !== "measured") continue;
      const { figures, name } = row;
      t.equal(figures.errors, 0, `${name}: no failed request`);
      t.ok(
        figures.requests > 0 && figures.requestsPerSecond > 0,
        `${name}: requests: ${JSON.stringify(figures)}`,
      );
      t.ok(
        figures.p50Us > 0 && figures.p99Us >= figures.p50Us && figures.singleP50Us > 0,
        `${name}: latency`,
      );
      for (const side of [figures.outbound, figures.inbound]) {
        t.ok(side.cpuUsPerUnit > 0, `${name}: CPU per request`);
        t.ok(side.idleRssBytes > 2 ** 20 && side.peakRssBytes >= side.loadRssBytes, `${name}: memory`);
      }
      t.not(row.version, "", `${name}: version`);
    }
    const fleet = suites[1];
    const changes = (fleet?.data as { readonly big: { readonly changes: readonly { resent: number }[] } })
      .big;
    t.ok(changes.changes.length > 0, "endpoint changes reached the sidecars");
    for (const { resent } of changes.changes) t.equal(resent, 0, "only the changed endpoints were sent");
    t.same(
      fleet?.targets.filter(({ id }) => id === "cpu" || id === "embedded registry").map(({ state }) => state),
      ["not measured", "not measured"],
      "a small fleet judges no target",
    );
    t.match(readFileSync(path.join(dir, "results/latest.md"), "utf8"), /\| Remora \| \d/);
    t.same(readdirSync(tmp), [], "its folder is removed");
    t.same(processesOf(tmp), [], "its processes are ended");
  },
);

/** The name of the one JSON file. */
function fileIn(dir: string): string {
  const [file = "", ...others] = readdirSync(dir).filter((name) => name.endsWith(".json"));
  if (others.length > 0 || !file.endsWith("-http1-fleet.json"))
    throw new Error(`files: ${file}, ${others.join(", ")}`);
  return file;
}

t.test(
  "an interrupted run leaves nothing behind",
  { skip: !isLinux && "needs /proc", timeout: 120_000 },
  async (t) => {
    const dir = t.testdir({ tmp: {}, results: {} });
    const tmp = path.join(dir, "tmp");
    const run = startBench(tmp, {
      BENCH_SECONDS: "30",
      BENCH_SUITES: "http1",
      BENCH_ONLY: "http-proxy",
      BENCH_RESULTS: path.join(dir, "results"),
    });
    for await (const text of run.child.stderr ?? []) if (String(text).includes("round 1")) break;
    t.not(processesOf(tmp).length, 0, "something runs");
    run.child.kill("SIGINT");
    const { code } = await run.ended;
    t.equal(code, 130, "exit code of an interrupt");
    t.same(readdirSync(tmp), [], "its folder is removed");
    t.same(processesOf(tmp), [], "its processes are ended");
    t.same(readdirSync(path.join(dir, "results")), [], "no result of half a run");
  },
);

t.test("settings that make no sense are refused", async (t) => {
  t.match(readOptions({}), { suites: undefined, only: undefined, serviceCount: 1000 });
  t.same(readOptions({ BENCH_ONLY: "Remora, nginx" }).only, ["Remora", "nginx"]);
  const usual = { seconds: 4, roundCount: 3 };
  t.same(readTimes({}, "http1", usual), usual);
  const env = { BENCH_SECONDS: "2", BENCH_HTTP1_SECONDS: "7", BENCH_ROUNDS: "1" };
  t.same(readTimes(env, "http1", usual), { seconds: 7, roundCount: 1 }, "the suite's own goes first");
  t.same(readTimes(env, "tcp", usual), { seconds: 2, roundCount: 1 });
  t.throws(() => readTimes({ BENCH_SECONDS: "soon" }, "tcp", usual), {
    message: /BENCH_SECONDS=soon: expected a number/,
  });
  t.equal(
    commandOf({ ...env, PATH: "/bin", BENCH_RESULTS: "/tmp" }),
    "BENCH_HTTP1_SECONDS=7 BENCH_ROUNDS=1 BENCH_SECONDS=2 make bench",
  );
  const plane = await startBench(t.testdir({}), { BENCH_ONLY: "Envoy" }).ended;
  t.equal(plane.code, 1);
  t.match(plane.output, /^bench: BENCH_ONLY: no data plane Envoy; there are Remora, HAProxy/);
  const suite = await startBench(t.testdir({}), { BENCH_SUITES: "http3" }).ended;
  t.equal(suite.code, 1);
  t.match(suite.output, /^bench: BENCH_SUITES: no suite http3; there are http1, grpc/);
});

t.test("reads usage from /proc", async (t) => {
  const stat = "42 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 120 30 99 99 20 0";
  t.equal(cpuTicks(stat), 150, "fields count from the last parenthesis");
  t.equal(statusBytes("VmPeak:\t 9 kB\nVmRSS:\t   1234 kB\n", "VmRSS"), 1234 * 1024);
  t.equal(statusBytes("", "VmRSS"), 0);
  if (!isLinux) return;
  const before = processUsage(process.pid);
  const child = spawn(process.execPath, ["-e", "process.stdin.resume(); console.log()"]);
  await once(child.stdout, "data");
  t.ok(processUsage(process.pid).rssBytes > before.rssBytes + 2 ** 24, "a child's memory counts too");
  child.kill();
  await once(child, "exit");
});

const load = { requests: 1000, errors: 0, bytes: 2_000_000, durationUs: 1e6, p50Us: 200, p99Us: 900 };

function round(cpuUs: number, singleP50Us: number): Http1Round {
  const side = { cpuUs, rssBytes: 2 ** 25, peakRssBytes: cpuUs * 2 ** 10 };
  const single = { ...load, requests: 10, bytes: 20_000, p50Us: singleP50Us };
  return { load, outbound: side, inbound: side, single, direct: { ...load, p50Us: 50 } };
}

const usage = { cpuUs: 0, rssBytes: 2 ** 24, peakRssBytes: 2 ** 24 };

function figures(...rounds: readonly Http1Round[]): Http1Figures {
  return summarize(rounds, { outbound: usage, inbound: usage });
}

t.test("figures are medians of the rounds", async (t) => {
  t.equal(median([5, 1, 3]), 3);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.throws(() => median([]));
  t.equal(quantile([1, 2, 3, 4], 0.99), 4);
  t.equal(quantile([], 0.5), 0);
  t.match(figures(round(30_000, 90), round(10_000, 80), round(20_000, 400)), {
    outbound: { cpuUsPerUnit: 20, idleRssBytes: 2 ** 24, peakRssBytes: 30_000 * 2 ** 10 },
    requestsPerSecond: 1000,
    singleP50Us: 90,
    addedP50Us: 40,
    requests: 3030,
    errors: 0,
  });
});

t.test("reads what h2load says", async (t) => {
  const summary = `finished in 1.00s, 3.00 req/s, 1KB/s
requests: 4 total, 5 started, 4 done, 3 succeeded, 1 failed, 1 errored, 0 timeout
status codes: 2 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 1.5KB (1536) total, 100B (100) headers (space savings 49.52%), 40B (40) data`;
  const log = "1795265733595605\t200\t706\n1795265733595606\t200\t90\n1795265733595607\t404\t800\n";
  t.same(readH2load(summary, log, 1), {
    ...{ requests: 4, errors: 2, bytes: 1536, durationUs: 1e6, p50Us: 706, p99Us: 800 },
  });
});

t.test("groups a profile", async (t) => {
  const perf = `
    20.00%\t[kernel.kallsyms]\t[k] tcp_sendmsg
    15.00%\tnode\t[.] aesni_gcm_encrypt
    10.00%\tnode\t[.] v8::internal::Heap::CollectGarbage
     5.00%\tnode\t[.] node::StreamBase::Write
     9.00%\tnode\t[.] Builtins_ArrayPush
     6.00%\tlibc.so.6\t[.] malloc
    30.00%\tperf-42.map\t[.] JS:*decode file:///x/dist/src/http2/hpack-decoder.js:31:3
     5.00%\tperf-42.map\t[.] JS:*onread node:net:12:3`;
  const { groups, top } = groupPerf(perf);
  t.same(groups, [
    ["JavaScript of Remora", 30],
    ["kernel", 20],
    ["node binary: TLS (OpenSSL and its wrapper)", 15],
    ["node binary: garbage collection", 10],
    ["V8: built-in functions", 9],
    ["libc: malloc and free", 6],
    ["node binary: other (V8 and Node)", 5],
    ["JavaScript of Node", 5],
  ]);
  t.same(top, [["decode http2/hpack-decoder.js:31", 30]]);
  const frame = (id: number, functionName: string, url: string): object => ({
    id,
    callFrame: { functionName, url, lineNumber: 30 },
  });
  const v8 = {
    nodes: [
      frame(1, "(idle)", ""),
      frame(2, "decode", "file:///x/dist/src/http2/hpack-decoder.js"),
      frame(3, "(garbage collector)", ""),
    ],
    samples: [1, 2, 3, 2],
    timeDeltas: [1000, 20, 25, 55],
  };
  t.same(groupV8(JSON.stringify(v8)).groups, [
    ["JavaScript of Remora", 75],
    ["node binary: garbage collection", 25],
  ]);
});

t.test("judges by bound, and says what was not measured", async (t) => {
  const target = (id: string, side: "most" | "least", value: number): Target => ({
    ...{ id, what: id, against: "", bound: { side, value, unit: "ms" } },
  });
  const results = judge(
    [target("a", "most", 5), target("b", "most", 5), target("c", "least", 2), target("d", "least", 2)],
    new Map([
      ["a", { value: 5 }],
      ["b", { value: 5.1 }],
      ["c", { value: 1.9, isUnfit: true, why: "too few cores" }],
    ]),
  );
  t.same(
    results.map(({ id, state, why }) => [id, state, why]),
    [
      ["a", "met", ""],
      ["b", "missed", ""],
      ["c", "not measured", "too few cores"],
      ["d", "not measured", ""],
    ],
  );
});

t.test("compares with what was measured, and says what was not", async (t) => {
  const head = (name: string): { name: string; note: string; version: string } => ({
    name,
    note: "",
    version: "1",
  });
  const rows: Row<Http1Figures, Http1Round>[] = [
    { ...head("Remora"), state: "measured", figures: figures(round(24_000, 89)), rounds: [] },
    { ...head("HAProxy"), state: "measured", figures: figures(round(16_000, 80)), rounds: [] },
    {
      ...head("http-proxy"),
      state: "invalid",
      reason: "3 of 1010 requests failed",
      figures: figures(round(1, 1)),
      rounds: [],
    },
  ];
  const found = findings(rows);
  t.equal(found.get("outbound HAProxy")?.value, 1.5);
  t.equal(found.get("added p50")?.value, 1.3);
  t.equal(found.get("outbound http-proxy")?.value, undefined, "an invalid row compares with nothing");
  const report: Report = {
    ...{ startedAt: "2030-01-01T00:00:00.000Z", command: "make bench", durationSeconds: 60 },
    machine: {
      ...{ cpu: "C", cores: 2, memoryBytes: 2 ** 30, kernel: "Linux", system: "", node: "v20", openssl: "3" },
      ...{ commit: "abc", loadAverage: 0.2 },
    },
    suites: [
      {
        ...{ name: "http1", title: "HTTP/1.1", how: "so", durationSeconds: 60, loadAverage: 0, data: null },
        subjects: [{ ...head("Remora") }],
        tables: [{ title: "", head: ["data plane", "x HAProxy"], rows: [["Remora", "1.50x"]] }],
        gaps: ["http-proxy: invalid: 3 of 1010 requests failed"],
        isRemoraMeasured: true,
        targets: judge(
          [
            {
              id: "outbound HAProxy",
              what: "CPU",
              against: "HAProxy",
              bound: { side: "most", value: 1, unit: "x" },
            },
          ],
          found,
        ),
      },
    ],
  };
  for (const text of [reportText(report), reportMarkdown(report)]) {
    t.match(text, "http-proxy: invalid: 3 of 1010 requests failed");
    t.match(text, /Remora[ |]+1\.50x/);
    t.match(text, /CPU[ |]+HAProxy[ |]+<= 1\.00x[ |]+1\.50x[ |]+missed/);
    t.notMatch(text, "BUSY");
  }
  t.match(reportText({ ...report, machine: { ...report.machine, loadAverage: 1.5 } }), "BUSY");
});
