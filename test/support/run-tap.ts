/**
 * Runs the compiled tests with tap and ends with one line `N passed, N failed`. `unit` leaves out test/integration; further
 * arguments are file paths to run instead.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../..");
const integrationFolder = "dist/test/integration/";
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

/** Shows each file's verdict, each skip with its reason, and everything around a failure; the rest would be noise. */
class Output {
  totals = "";
  #isFailing = false;

  show(line: string): void {
    if (line.startsWith("# { total:")) this.totals = line;
    const text = line.trimStart();
    if (text.startsWith("not ok")) this.#isFailing = true;
    else if (text.startsWith("ok ")) this.#isFailing = false;
    if (line.length === text.length || this.#isFailing || / # (SKIP|TODO)/.test(text)) console.log(line);
  }

  count(name: string): number {
    return Number(new RegExp(`${name}: (\\d+)`).exec(this.totals)?.[1] ?? 0);
  }
}

function run(files: readonly string[], jobs: number): Promise<Totals> {
  if (files.length === 0) return Promise.resolve({ passed: 0, failed: 0 });
  const options = [
    "--disable-coverage",
    "--allow-empty-coverage",
    "--reporter=tap",
    `--jobs=${jobs}`,
    "--timeout=240",
  ];
  const tap = spawn(path.join(root, "node_modules/.bin/tap"), ["run", ...options, ...files], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = new Output();
  let rest = "";
  tap.stdout.setEncoding("utf8");
  tap.stdout.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) output.show(line);
  });
  return new Promise((resolve) => {
    tap.on("close", (code) => {
      if (rest !== "") output.show(rest);
      const failed = output.count("fail");
      // A runner that failed without counting a failure (a crash, a timeout) has failed all the same.
      resolve({ passed: output.count("pass"), failed: code === 0 ? failed : Math.max(1, failed) });
    });
  });
}

const files = testFiles();
/** In a file of test/integration: nothing in it is timed, so its meshes may share the machine with those of another. */
const besideMark = "// # runs beside others";
const isIntegration = (file: string): boolean => file.startsWith(integrationFolder);
const isBeside = (file: string): boolean =>
  isIntegration(file) && readFileSync(path.join(root, file), "utf8").includes(besideMark);
const none: Totals = { passed: 0, failed: 0 };
const isUnitOnly = mode === "unit";
const totals = [
  await run(
    files.filter((file) => !isIntegration(file)),
    2,
  ),
  isUnitOnly ? none : await run(files.filter(isBeside), 2),
  // One at a time: each is a mesh of many processes, which two cores can carry once.
  isUnitOnly
    ? none
    : await run(
        files.filter((file) => isIntegration(file) && !isBeside(file)),
        1,
      ),
];
const count = (name: keyof Totals): number => totals.reduce((sum, each) => sum + each[name], 0);
const failed = count("failed");
console.log(`${count("passed")} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
