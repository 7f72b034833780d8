/**
 * Runs the compiled tests, each file as a program of its own, and ends with one line `N passed, N failed`. `unit` leaves out
 * test/integration; further arguments are file paths to run instead.
 *
 * tap's own runner would load itself into every process that a test starts, through NODE_OPTIONS: sidecars and commands would
 * be others than a user has, and take several times as long to start.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";

const root = path.resolve(import.meta.dirname, "../../..");
const integrationFolder = "dist/test/integration/";
const usualTimeoutMs = 240_000;
/** From tap's signal, at which a file says what it waits for, to the end. */
const lastWordMs = 2000;
const [mode = "all", ...named] = process.argv.slice(2);

interface Totals {
  readonly passed: number;
  readonly failed: number;
}

function testFiles(): string[] {
  if (named.length > 0) return named;
  return readdirSync(path.join(root, "dist/test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.js"))
    .map((file) => path.join("dist/test", file))
    .sort();
}

/** What a file has said: its last totals, each skip with its reason, and everything around a failure; the rest would be noise. */
class Output {
  readonly shown: string[] = [];
  /** The line that says how many tests there were: the file has come to its end. */
  hasPlan = false;
  #totals = "";
  #isFailing = false;

  add(line: string): void {
    if (line.startsWith("# { total:")) this.#totals = line;
    const text = line.trimStart();
    if (text.startsWith("not ok")) this.#isFailing = true;
    else if (text.startsWith("ok ")) this.#isFailing = false;
    const isSkipped = / # (SKIP|TODO)/.test(text) || line.startsWith("1..0 ");
    if (line.startsWith("1..")) this.hasPlan = true;
    if (this.#isFailing || isSkipped) this.shown.push(`    ${line}`);
  }

  count(name: string): number {
    return Number(new RegExp(`${name}: (\\d+)`).exec(this.#totals)?.[1] ?? 0);
  }
}

const running = new Set<ChildProcess>();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    for (const child of running) child.kill("SIGKILL");
    process.exit(1);
  });

let fileCount = 0;

async function runFile(file: string): Promise<Totals> {
  const startMs = performance.now();
  const child = spawn(process.execPath, ["--enable-source-maps", file], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TAP_TIMEOUT: `${usualTimeoutMs / 1000}` },
  });
  running.add(child);
  const output = new Output();
  const endings: NodeJS.Timeout[] = [];
  const endAfter = (ms: number): void => {
    for (const timer of endings.splice(0)) clearTimeout(timer);
    endings.push(
      setTimeout(() => child.kill("SIGALRM"), ms),
      setTimeout(() => child.kill("SIGKILL"), ms + lastWordMs),
    );
  };
  endAfter(usualTimeoutMs);
  createInterface({ input: child.stdout }).on("line", (line) => {
    output.add(line);
    const wish = /^# timeout=(\d+)$/.exec(line)?.[1];
    if (wish !== undefined) endAfter(Number(wish));
  });
  const [code] = (await once(child, "close")) as [number | null];
  for (const timer of endings) clearTimeout(timer);
  running.delete(child);
  // A file that failed without counting a failure (a crash, a timeout, no test in it) has failed all the same.
  const failed = code === 0 && output.hasPlan ? output.count("fail") : Math.max(1, output.count("fail"));
  const took = `time=${(performance.now() - startMs).toFixed(0)}ms`;
  const verdict = `${failed === 0 ? "ok" : "not ok"} ${++fileCount} - ${file} # ${took}`;
  console.log([`# Subtest: ${file}`, ...output.shown, verdict, ""].join("\n"));
  return { passed: output.count("pass"), failed };
}

async function run(files: readonly string[], jobs: number): Promise<readonly Totals[]> {
  const left = [...files];
  const totals: Totals[] = [];
  const job = async (): Promise<void> => {
    for (let file = left.shift(); file !== undefined; file = left.shift()) totals.push(await runFile(file));
  };
  await Promise.all(Array.from({ length: jobs }, job));
  return totals;
}

/** In a file of test/integration: nothing in it is timed, so its meshes may share the machine with those of another. */
const besideMark = "// # runs beside others";
const isUnit = (file: string): boolean => !file.startsWith(integrationFolder);
const isBeside = (file: string): boolean => readFileSync(path.join(root, file), "utf8").includes(besideMark);
const files = testFiles();
const integration = mode === "unit" ? [] : files.filter((file) => !isUnit(file));
const alone = integration.filter((file) => !isBeside(file));
const totals = [
  ...(await run([...files.filter(isUnit), ...integration.filter(isBeside)], 2)),
  // One at a time: each is a mesh of many processes, which two cores can carry once.
  ...(await run(alone, 1)),
];
const count = (name: keyof Totals): number => totals.reduce((sum, each) => sum + each[name], 0);
const failed = count("failed");
console.log(`${count("passed")} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
