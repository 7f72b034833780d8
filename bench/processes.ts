import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

/** How much of a process's output is kept to explain why it died. */
const keptOutput = 2000;
const killAfterMs = 5000;

export interface Started {
  readonly name: string;
  readonly pid: number;
  /** Throws, with the end of its output, when the process is no longer there. */
  assertAlive(): void;
  /** Resolves with the `performance.now()` at which `text` came; rejects when the process ends or time is up. */
  untilOutput(text: string, timeoutMs: number): Promise<number>;
  /** Hears each whole line of its standard output from now on. */
  onLine(listener: (line: string) => void): void;
  /** SIGTERM, and SIGKILL after five seconds. Resolves when it has ended. */
  stop(): Promise<void>;
}

/** The processes of one benchmark run: each is started here, and exactly these are ended. */
export class Processes {
  readonly #children = new Set<ChildProcess>();
  #isStopped = false;

  /** The run is being ended: whatever fails from now on fails because of that. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  start(name: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
    if (this.#isStopped) throw new Error("the benchmark is being stopped");
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const listeners = new Set<() => void>();
    const keep = (text: string): void => {
      output = (output + text).slice(-keptOutput);
      for (const listener of listeners) listener();
    };
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    child.once("error", (error) => keep(error.message));
    this.#children.add(child);
    return {
      name,
      pid: child.pid ?? 0,
      assertAlive() {
        if (child.pid !== undefined && !hasEnded(child)) return;
        throw new Error(`${name} ended: ${output.trim() || `exit code ${child.exitCode}`}`);
      },
      untilOutput: (text, timeoutMs) =>
        untilOutput({ name, child, output: () => output, listeners }, text, timeoutMs),
      onLine: (listener) => void createInterface({ input: child.stdout }).on("line", listener),
      stop: async () => {
        await end(child);
        this.#children.delete(child);
      },
    };
  }

  /** Runs a program to its end and gives its output. Rejects with the end of stderr when it fails. */
  async run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
    if (this.#isStopped) throw new Error("the benchmark is being stopped");
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#children.add(child);
    let output = "";
    let problem = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (problem += text));
    const [code] = (await once(child, "close").finally(() => this.#children.delete(child))) as [
      number | null,
    ];
    if (code === 0) return output;
    throw new Error(`${program} ${args[0] ?? ""}: exit code ${code}: ${problem.trim().slice(-keptOutput)}`);
  }

  /** SIGTERM to all, in any order, and SIGKILL to what is left after five seconds. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#children].map(end));
    this.#children.clear();
  }

  /** The same, and nothing starts afterwards. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([...this.#children].map(end));
  }

  /** For the exit handler, where nothing can be awaited. */
  stopNow(): void {
    for (const child of this.#children) if (!hasEnded(child)) child.kill("SIGTERM");
  }
}

function untilOutput(
  watched: {
    readonly name: string;
    readonly child: ChildProcess;
    readonly output: () => string;
    readonly listeners: Set<() => void>;
  },
  text: string,
  timeoutMs: number,
): Promise<number> {
  const { name, child, output, listeners } = watched;
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      listeners.delete(look);
      child.off("exit", ended);
      settle();
    };
    const look = (): void => {
      const nowMs = performance.now();
      if (output().includes(text)) finish(() => resolve(nowMs));
    };
    const fail = (why: string): void =>
      finish(() => reject(new Error(`${name}: ${why} before "${text}": ${output().trim()}`)));
    const ended = (): void => fail("ended");
    const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
    listeners.add(look);
    child.once("exit", ended);
    look();
  });
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || hasEnded(child)) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
  clearTimeout(timer);
}

/** Asks until `look` no longer throws; its last error after `timeoutMs`. A dead process ends the wait at once. */
export async function untilReady(
  processes: readonly Started[],
  timeoutMs: number,
  look: () => Promise<void>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    for (const each of processes) each.assertAlive();
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await sleep(50);
  }
}
