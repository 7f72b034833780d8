/** `remora` as a child process: what a user types, and nothing of the code behind it. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, readFileSync } from "node:fs";
import path from "node:path";

const remora = path.resolve(import.meta.dirname, "../../bin/remora.js");

/**
 * Ends a process that runs no application of ours when its input ends, which it does with the test, however that ends. Its workers,
 * which have a parent to talk to, end with it.
 */
const diesWithTest = `data:text/javascript,${encodeURIComponent(
  'process.send ?? process.stdin.on("end", () => process.kill(-process.pid, "SIGKILL")).resume().unref()',
)}`;

export interface Finished {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  /** From the start of the process to its end, milliseconds. */
  readonly tookMs: number;
}

export interface Invocation {
  readonly args: readonly string[];
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Killed, and rejected with its output, after so long. Default 30 s. */
  readonly timeoutMs?: number;
}

/** Runs `remora ...` to its end, whatever its exit code. */
export async function runRemora({ args, input, env, timeoutMs = 30_000 }: Invocation): Promise<Finished> {
  const startMs = performance.now();
  const child = spawn(process.execPath, [remora, ...args], {
    env: { ...cleanEnvironment(), ...env },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  child.stdin.on("error", () => undefined); // gone before it has read all
  child.stdin.end(input ?? "");
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    killGroup(child);
  }, timeoutMs);
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  if (isLate) throw new Error(`remora ${args.join(" ")}: still running after ${timeoutMs} ms\n${out}${err}`);
  return { code, signal, out, err, tookMs: performance.now() - startMs };
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) killGroup(child);
});

/** A `remora ...` that runs until it is told to stop, in a process group of its own. */
export class CliProcess {
  readonly name: string;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #logFile: string;

  constructor(
    dir: string,
    name: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#logFile = path.join(dir, `${name}.log`);
    const log = createWriteStream(this.#logFile, { flags: "a" });
    // The application of the tests ends with its input by itself, and `remora run` with its application.
    const guard = args[0] === "run" ? [] : ["--import", diesWithTest];
    this.#child = spawn(process.execPath, [...guard, remora, ...args], {
      env: { ...cleanEnvironment(), ...env },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    this.#child.stdin?.on("error", () => undefined);
    this.#child.stdout?.pipe(log, { end: false });
    this.#child.stderr?.pipe(log, { end: false });
    running.add(this.#child);
    this.exited = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => {
        running.delete(this.#child);
        resolve({ code, signal });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get log(): string {
    return readFileSync(this.#logFile, "utf8");
  }

  /** Sends a signal to the remora process alone. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGTERM, then SIGKILL to the whole group after `graceMs`. */
  async stop(graceMs = 20_000): Promise<Exit> {
    const timer = setTimeout(() => killGroup(this.#child), graceMs);
    if (this.isRunning) this.signal("SIGTERM");
    const exit = await this.exited;
    clearTimeout(timer);
    killGroup(this.#child);
    return exit;
  }

  /** SIGKILL to remora and its application together, as a machine that fails. */
  async kill(): Promise<void> {
    killGroup(this.#child);
    await this.exited;
  }
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch {
    // The whole group is gone.
  }
}

/** Settings of whoever runs the tests must not reach the processes under test. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = /^(REMORA_|CONSUL_|TAP|NODE_OPTIONS|NODE_V8_COVERAGE|https?_proxy|no_proxy)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
}
