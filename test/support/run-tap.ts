/**
 * Runs the compiled tests with tap and ends with one line `N passed, N failed`.
 * `unit` leaves out test/integration; further arguments are file paths to run instead.
 */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../../..");
const [mode = "all", ...named] = process.argv.slice(2);

function testFiles(): string[] {
  if (named.length > 0) return named;
  const all = readdirSync(path.join(root, "dist/test"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.js"))
    .map((file) => path.join("dist/test", file))
    .sort();
  return mode === "unit" ? all.filter((file) => !file.startsWith("dist/test/integration/")) : all;
}

const args = [
  "run",
  "--disable-coverage",
  "--allow-empty-coverage",
  "--reporter=tap",
  "--jobs=2",
  "--timeout=180",
  ...testFiles(),
];
const tap = spawn(path.join(root, "node_modules/.bin/tap"), args, {
  cwd: root,
  stdio: ["ignore", "pipe", "inherit"],
});

let totals = "";
let rest = "";
let failing = false;
/** Shows each file's verdict, each skip with its reason, and everything around a failure; the rest would be noise. */
function show(line: string): void {
  if (line.startsWith("# { total:")) totals = line;
  const indent = line.length - line.trimStart().length;
  const text = line.trimStart();
  if (text.startsWith("not ok")) failing = true;
  else if (text.startsWith("ok ")) failing = false;
  if (indent === 0 || failing || / # (SKIP|TODO)/.test(text)) console.log(line);
}
tap.stdout.setEncoding("utf8");
tap.stdout.on("data", (chunk: string) => {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop() ?? "";
  lines.forEach(show);
});
tap.on("close", (code) => {
  if (rest !== "") show(rest);
  const count = (name: string): number => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0);
  const failed = count("fail") + (totals === "" ? 1 : 0);
  console.log(`${count("pass")} passed, ${failed} failed`);
  process.exitCode = code === 0 && failed === 0 ? 0 : 1;
});
