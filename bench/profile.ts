/**
 * `make profile`: where the CPU time of Remora's two sidecars goes under the load of the HTTP/1.1 suite, by group. With Linux perf, which sees
 * kernel, OpenSSL and compiled JavaScript alike; without it, or where the machine forbids it, with V8's own profiler.
 */
import { rmSync } from "node:fs";
import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startGrpcApp, untilAnswering } from "./apps/grpc-app.js";
import { startApp } from "./apps/static-app.js";
import type { Pair } from "./data-plane.js";
import { makeIdentities } from "./identities.js";
import { chooseHttpLoad } from "./load/http-load.js";
import { openH2Load } from "./load/h2load.js";
import { readTimes } from "./options.js";
import { remoraPlane } from "./planes/remora.js";
import { untilServing } from "./probe.js";
import { Processes } from "./processes.js";
import { groupPerf, groupV8, type Share } from "./profile-groups.js";
import { startTcpApp, tcpMessageBytes, tcpWorks, untilEchoing } from "./suites/tcp.js";
import { runTcpLoad, type TcpRun } from "./load/tcp-run.js";
import { findProgram } from "./program-path.js";
import { textOf } from "./rounds.js";

const connections = 64;
const dir = await mkdtemp(path.join(tmpdir(), "remora-profile-"));
const processes = new Processes();
process.once("exit", () => {
  processes.stopNow();
  rmSync(dir, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    const end = (): never => process.exit(1);
    processes.stop().then(end, end);
  });

try {
  await run();
} catch (error) {
  console.error(`profile: ${textOf(error)}`);
  process.exitCode = 1;
} finally {
  await processes.stop();
}

async function run(): Promise<void> {
  const { seconds } = readTimes(process.env, "profile", { seconds: 10, roundCount: 1 });
  const load = await loadOf(process.env["BENCH_PROFILE"] ?? "http1", seconds);
  const perf = await usablePerf();
  // V8 would leave a log in the current folder for each process.
  const noLogs = ["--no-logfile-per-isolate", `--logfile=${path.join(dir, "v8.log")}`];
  const nodeFlags =
    perf === undefined ? ["--cpu-prof", `--cpu-prof-dir=${dir}`] : ["--perf-basic-prof", ...noLogs];
  const pair = await remoraPlane({ protocol: load.protocol, nodeFlags }).start({
    ...{ dir, processes, appPort: load.appPort, untilServing: load.untilServing },
    identities: await makeIdentities(dir),
  });
  await load.run(pair.port, Math.max(1, seconds / 3));
  const running = load.run(pair.port, seconds);
  const sides = ["outbound", "inbound"] as const;
  const pids = { outbound: pair.outboundPid, inbound: pair.inboundPid };
  if (perf !== undefined) {
    const files = await Promise.all(sides.map((side) => record(perf, pids[side], seconds)));
    console.log(`${load.name}; perf, self time`);
    for (const [i, side] of sides.entries()) print(side, groupPerf(await report(perf, files[i] ?? "")));
    await running;
    for (const side of sides) rmSync(`/tmp/perf-${pids[side]}.map`, { force: true });
    return;
  }
  await running;
  await processes.endAll(); // V8 writes its profiles at the end
  console.log(`${load.name}; no usable perf: V8's profiler, which does not see into native code`);
  await printV8(pids);
}

function loadOf(what: string, seconds: number): Promise<ProfileLoad> {
  if (what === "grpc") return grpcLoad();
  if (what === "tcp" || what === "tcp-bulk") return tcpLoad(what === "tcp" ? "messages" : "bulk");
  return httpLoad(seconds);
}

interface ProfileLoad {
  readonly name: string;
  readonly protocol: "http" | "grpc" | "tcp";
  readonly appPort: number;
  readonly untilServing: typeof untilServing;
  run(port: Pair["port"], seconds: number): Promise<unknown>;
}

async function httpLoad(seconds: number): Promise<ProfileLoad> {
  const load = await chooseHttpLoad(dir, Math.max(1, seconds), processes);
  const app = await startApp(dir, processes);
  return {
    protocol: "http",
    name: `HTTP/1.1, ${connections} connections, ${load.name}`,
    appPort: app.port,
    untilServing,
    run: (port, length) => load.run({ port, connections, seconds: length }),
  };
}

async function grpcLoad(): Promise<ProfileLoad> {
  const load = await openH2Load(dir, processes);
  const app = await startGrpcApp(dir, processes);
  return {
    protocol: "grpc",
    name: `gRPC unary, 8 x 8 streams, ${load.name}`,
    appPort: app.port,
    untilServing: untilAnswering,
    run: (port, length) => load.run({ port, connections: 8, streams: 8, seconds: length }),
  };
}

async function tcpLoad(kind: TcpRun["kind"]): Promise<ProfileLoad> {
  const appPort = await startTcpApp(processes);
  const work = tcpWorks[kind === "messages" ? 0 : 1];
  return {
    protocol: "tcp",
    name: `raw TCP, ${work.text}, ${work.connections} connections`,
    appPort,
    untilServing: untilEchoing,
    run: (port, seconds) =>
      runTcpLoad(
        { port, connections: work.connections, seconds, messageBytes: tcpMessageBytes, kind },
        processes,
      ),
  };
}

/** perf, when it is there and may look at our own processes. */
async function usablePerf(): Promise<string | undefined> {
  const perf = findProgram("perf");
  if (perf === undefined) return undefined;
  try {
    await processes.run(perf, ["record", "-o", path.join(dir, "try"), "-e", "cpu-clock", "-F", "99", "true"]);
    return perf;
  } catch {
    return undefined;
  }
}

/** Samples one process for most of the run. Resolves with the file. */
async function record(perf: string, pid: number, seconds: number): Promise<string> {
  const file = path.join(dir, `perf-${pid}.data`);
  await sleep(200);
  const length = Math.max(0.2, seconds - 0.5);
  await processes.run(perf, [
    ...["record", "-e", "cpu-clock", "-F", "997", "-p", `${pid}`, "-o", file],
    ...["--", "sleep", `${length}`],
  ]);
  return file;
}

function report(perf: string, file: string): Promise<string> {
  return processes.run(perf, [
    ...[
      "report",
      "-i",
      file,
      "--stdio",
      "--no-children",
      "--percent-limit",
      "0",
      "-F",
      "overhead,dso,symbol",
    ],
    ...["-t", "\t", "--quiet"],
  ]);
}

/** Workers and helper processes write profiles too: only those of the two sidecars are of interest. */
async function printV8(pids: Readonly<Record<"outbound" | "inbound", number>>): Promise<void> {
  const names = (await readdir(dir)).filter((name) => name.endsWith(".cpuprofile"));
  for (const [side, pid] of Object.entries(pids)) {
    const name = names.find((each) => each.split(".").includes(`${pid}`));
    if (name === undefined) throw new Error(`no profile of the ${side} sidecar`);
    print(side, groupV8(await readFile(path.join(dir, name), "utf8")));
  }
}

function print(side: string, { groups, top }: Share): void {
  console.log(`\n${side}`);
  for (const [name, percent] of groups) console.log(`  ${percent.toFixed(1).padStart(5)} %  ${name}`);
  console.log("  most time of our own:");
  for (const [name, percent] of top) console.log(`  ${percent.toFixed(1).padStart(5)} %  ${name}`);
}
