/** `make bench` in a short form: it measures what it says, and leaves nothing behind. Figures are not judged: that is the benchmark's own business. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { median, quantile, summarize, type Figures, type Round } from "../../bench/figures.js";
import { readOptions } from "../../bench/options.js";
import { cpuTicks, processUsage, statusBytes } from "../../bench/process-usage.js";
import type { Report, Row } from "../../bench/report.js";
import { reportMarkdown, reportText } from "../../bench/table.js";
import { judge } from "../../bench/targets.js";

const bench = path.resolve(import.meta.dirname, "../../bench/bench.js");
const isLinux = process.platform === "linux";

interface Run {
  readonly child: ChildProcess;
  /** Exit code, and everything that was printed. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
}

function startBench(dir: string, env: Readonly<Record<string, string>>): Run {
  const child = spawn(process.execPath, [bench], {
    env: { ...process.env, TMPDIR: dir, BENCH_ONLY: "Remora,http-proxy", BENCH_ROUNDS: "1", ...env },
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
  { skip: !isLinux && "needs /proc" },
  async (t) => {
    const dir = t.testdir({ tmp: {}, results: {} });
    const tmp = path.join(dir, "tmp");
    const { code, output } = await startBench(tmp, {
      BENCH_SECONDS: "0.3",
      BENCH_RESULTS: path.join(dir, "results"),
    }).ended;
    t.equal(code, 0, `succeeds: ${output}`);
    const [json = ""] = readdirSync(path.join(dir, "results")).filter((name) => name.endsWith("-http1.json"));
    const report = JSON.parse(readFileSync(path.join(dir, "results", json), "utf8")) as Report;
    t.same(
      report.rows.map(({ name, state }) => [name, state]),
      [
        ["Remora", "measured"],
        ["http-proxy", "measured"],
      ],
    );
    for (const row of report.rows) {
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
        t.ok(side.cpuUsPerRequest > 0, `${name}: CPU per request`);
        t.ok(side.idleRssBytes > 2 ** 20 && side.peakRssBytes >= side.loadRssBytes, `${name}: memory`);
      }
      t.not(row.version, "", `${name}: version`);
    }
    t.match(readFileSync(path.join(dir, "results/latest.md"), "utf8"), /\| Remora \| \d/);
    t.same(readdirSync(tmp), [], "its folder is removed");
    t.same(processesOf(tmp), [], "its processes are ended");
  },
);

t.test("an interrupted run leaves nothing behind", { skip: !isLinux && "needs /proc" }, async (t) => {
  const dir = t.testdir({ tmp: {}, results: {} });
  const tmp = path.join(dir, "tmp");
  const run = startBench(tmp, {
    BENCH_SECONDS: "30",
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
});

t.test("settings that make no sense are refused", async (t) => {
  t.match(readOptions({}), { seconds: 4, roundCount: 3, only: undefined });
  t.same(readOptions({ BENCH_ONLY: "Remora, nginx" }).only, ["Remora", "nginx"]);
  t.throws(() => readOptions({ BENCH_SECONDS: "soon" }), {
    message: /BENCH_SECONDS=soon: expected a number/,
  });
  const { code, output } = await startBench(t.testdir({}), { BENCH_ONLY: "Envoy" }).ended;
  t.equal(code, 1);
  t.match(output, /^bench: BENCH_ONLY: no data plane Envoy; there are Remora, HAProxy/);
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

function round(cpuUs: number, singleP50Us: number): Round {
  const side = { cpuUs, rssBytes: 2 ** 25, peakRssBytes: cpuUs * 2 ** 10 };
  const single = { ...load, requests: 10, bytes: 20_000, p50Us: singleP50Us };
  return { load, outbound: side, inbound: side, single, direct: { ...load, p50Us: 50 } };
}

function figures(cpuUs: number, singleP50Us: number): Figures {
  const usage = { cpuUs: 0, rssBytes: 2 ** 24, peakRssBytes: 2 ** 24 };
  return summarize([round(cpuUs, singleP50Us)], { outbound: usage, inbound: usage });
}

t.test("figures are medians of the rounds", async (t) => {
  t.equal(median([5, 1, 3]), 3);
  t.equal(median([4, 1, 3, 2]), 2.5);
  t.throws(() => median([]));
  t.equal(quantile([1, 2, 3, 4], 0.99), 4);
  t.equal(quantile([], 0.5), 0);
  const usage = { cpuUs: 7, rssBytes: 2 ** 24, peakRssBytes: 2 ** 24 };
  const three = summarize([round(30_000, 90), round(10_000, 80), round(20_000, 400)], {
    outbound: usage,
    inbound: usage,
  });
  t.match(three, {
    outbound: { cpuUsPerRequest: 20, idleRssBytes: 2 ** 24, peakRssBytes: 30_000 * 2 ** 10 },
    requestsPerSecond: 1000,
    singleP50Us: 90,
    addedP50Us: 40,
    requests: 3030,
    errors: 0,
  });
});

t.test("compares with what was measured, and says what was not", async (t) => {
  const head = (name: string): { name: string; note: string; version: string } => ({
    name,
    note: "",
    version: "1",
  });
  const rows: Row[] = [
    { ...head("Remora"), state: "measured", figures: figures(24_000, 89), rounds: [] },
    { ...head("HAProxy"), state: "measured", figures: figures(16_000, 80), rounds: [] },
    { ...head("nginx"), state: "not available", reason: "no nginx on this machine" },
    {
      ...head("http-proxy"),
      state: "invalid",
      reason: "3 of 1010 requests failed",
      figures: figures(1, 1),
      rounds: [],
    },
  ];
  const targets = judge(rows);
  t.same(
    targets.map(({ against, ratio, state }) => [against, ratio, state]),
    [
      ["HAProxy", 1.5, "met"],
      ["HAProxy", 1.5, "met"],
      ["http-proxy", undefined, "not measured"],
      ["http-proxy", undefined, "not measured"],
      ["HAProxy", 1.3, "met"],
    ],
  );
  const slow = judge([
    { ...head("Remora"), state: "measured", figures: figures(26_000, 90), rounds: [] },
    ...rows.slice(1, 2),
  ]);
  t.same(
    slow.filter(({ against }) => against === "HAProxy").map(({ state }) => state),
    ["missed", "missed", "missed"],
  );
  const report: Report = {
    ...{ startedAt: "2030-01-01T00:00:00.000Z", command: "make bench", load: "wrk", app: "nginx" },
    ...{ connections: 64, seconds: 4, roundCount: 1, directP50Us: 50, rows, targets },
    machine: {
      ...{ cpu: "C", cores: 2, memoryBytes: 2 ** 30, kernel: "Linux", system: "", node: "v20", openssl: "3" },
      loadAverage: 0.2,
    },
  };
  for (const text of [reportText(report), reportMarkdown(report)]) {
    t.match(text, "nginx: not available: no nginx on this machine");
    t.match(text, "http-proxy: invalid: 3 of 1010 requests failed");
    t.match(text, /Remora[ |]+24\.0[ |]+24\.0[ |]+1\.50x[ |]+-[ |]+1000/);
    t.notMatch(text, "BUSY");
  }
  t.match(reportText({ ...report, machine: { ...report.machine, loadAverage: 1.5 } }), "BUSY");
});
