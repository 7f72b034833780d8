/** `make bench`: Remora against other data planes, in one run on one machine. README.md beside it says how to read it. */
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { DataPlane } from "./data-plane.js";
import { readOptions } from "./options.js";
import { consulProxy } from "./planes/consul-proxy.js";
import { haproxy } from "./planes/haproxy.js";
import { httpProxy } from "./planes/http-proxy.js";
import { nginx } from "./planes/nginx.js";
import { remora } from "./planes/remora.js";
import { Processes } from "./processes.js";
import { writeResults } from "./results.js";
import { runSuite } from "./suite.js";
import { reportText } from "./table.js";

const all = [remora, haproxy, nginx, consulProxy, httpProxy];

const dir = await mkdtemp(path.join(tmpdir(), "remora-bench-"));
const processes = new Processes();
const removeDir = (): void => rmSync(dir, { recursive: true, force: true });
// Whatever ends this process, what it started and wrote goes with it.
process.once("exit", () => {
  processes.stopNow();
  removeDir();
});
const interrupted = (signal: NodeJS.Signals): void => {
  const end = (): never => process.exit(signal === "SIGINT" ? 130 : 143);
  processes.stop().then(end, end);
};
process.once("SIGINT", interrupted);
process.once("SIGTERM", interrupted);

try {
  const options = readOptions(process.env);
  const progress = (line: string): void => console.error(line);
  const report = await runSuite({ ...options, planes: choose(options.only), dir, processes, progress });
  const files = await writeResults(report, options.resultsDir);
  console.log(`\n${reportText(report)}\n\nWritten to ${files.join(" and ")}`);
  // A missing peer is a gap in the comparison; a Remora that cannot be measured is a failure.
  if (report.rows.some(({ name, state }) => name === remora.name && state !== "measured"))
    process.exitCode = 1;
} catch (error) {
  if (!processes.isStopped) {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
} finally {
  await processes.stop();
}

/** Throws when a name is unknown. */
function choose(only: readonly string[] | undefined): readonly DataPlane[] {
  const unknown = only?.filter((name) => !all.some((plane) => plane.name === name)) ?? [];
  if (unknown.length === 0) return all.filter(({ name }) => only?.includes(name) ?? true);
  const names = all.map(({ name }) => name).join(", ");
  throw new Error(`BENCH_ONLY: no data plane ${unknown.join(", ")}; there are ${names}`);
}
