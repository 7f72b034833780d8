import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** How much of a process's output is kept to explain why it died. */
const keptOutput = 2000;
const killAfterMs = 5000;

export interface Started {
  readonly name: string;
  readonly pid: number;
  /** Throws, with the end of its output, when the process is no longer there. */
  assertAlive(): void;
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
    const keep = (text: string): void => void (output = (output + text).slice(-keptOutput));
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

  /** SIGTERM to all, in any order, and SIGKILL to what is left after five seconds. Nothing starts afterwards. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([...this.#children].map(end));
  }

  /** For the exit handler, where nothing can be awaited. */
  stopNow(): void {
    for (const child of this.#children) if (!hasEnded(child)) child.kill("SIGTERM");
  }
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
