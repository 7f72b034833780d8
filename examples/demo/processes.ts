/** Starts the demo's processes through the command line, as a user would, and ends exactly those. */
import { spawn, type ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import path from "node:path";

export const remora = path.resolve(import.meta.dirname, "../../bin/remora.js");
const started: ChildProcess[] = [];

/** Runs `remora ...` in the background; its output goes to a log file in `dir`. */
export function start(
  dir: string,
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  return startProgram(dir, name, [process.execPath, remora, ...args], env);
}

/** The same for any program. */
export function startProgram(
  dir: string,
  name: string,
  [program = "", ...args]: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(path.join(dir, `${name}.log`));
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  started.push(child);
  return child;
}

/** Runs `remora ...` to its end. Rejects with its error text when it fails. */
export async function run(args: readonly string[], input?: string): Promise<string> {
  const { code, output, problem } = await runToCode(args, input);
  if (code === 0) return output;
  throw new Error(`remora ${args.join(" ")}: exit ${code}: ${problem}`);
}

/** As `run`, whatever the exit code. */
export function runToCode(
  args: readonly string[],
  input?: string,
): Promise<{ readonly code: number | null; readonly output: string; readonly problem: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [remora, ...args], { stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    let problem = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (problem += text));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output: output.trim(), problem: problem.trim() }));
    child.stdin.end(input ?? "");
  });
}

/** SIGTERM to all that still run, and waits for them; SIGKILL after ten seconds. */
export async function stopAll(): Promise<void> {
  await Promise.all(started.map(stop));
}

export function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGTERM");
  });
}

/** Asks until `look` gives something, for at most `timeoutMs`. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await look().catch(() => undefined);
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`${what}: not seen within ${timeoutMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
