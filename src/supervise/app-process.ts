import { spawn, type ChildProcess } from "node:child_process";
import type { Exit } from "./run-state.js";

export interface AppProcessOptions {
  /** Never empty. */
  readonly command: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly onExit: (exit: Exit) => void;
  /** It could not be started: ENOENT, EACCES, ... */
  readonly onSpawnFailed: (code: string) => void;
}

/** The application as a child of this process, on our terminal and in our process group. */
export class AppProcess {
  readonly #child: ChildProcess;
  #isGone = false;

  constructor({ command, environment, onExit, onSpawnFailed }: AppProcessOptions) {
    const [file = "", ...args] = command;
    this.#child = spawn(file, args, { stdio: "inherit", env: environment });
    this.#child.on("error", (error: NodeJS.ErrnoException) => {
      // Also emitted when a signal cannot be delivered, which means that it is gone.
      if (this.#isGone || this.#child.pid !== undefined) return;
      this.#isGone = true;
      onSpawnFailed(error.code ?? "unknown");
    });
    this.#child.on("exit", (code, signal) => {
      if (this.#isGone) return;
      this.#isGone = true;
      onExit({ code, signal });
    });
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** No effect once it is gone. */
  send(signal: NodeJS.Signals): void {
    if (!this.#isGone) this.#child.kill(signal);
  }
}
