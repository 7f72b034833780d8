import { readFile } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import os from "node:os";
import { repository } from "./program-path.js";

/** Where a benchmark ran. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Kernel release and architecture. */
  readonly kernel: string;
  /** Empty when the system does not say. */
  readonly system: string;
  readonly node: string;
  readonly openssl: string;
  /** Short hash of the commit, with a star when files were changed since; empty outside a git checkout. */
  readonly commit: string;
  /** One minute's load average before the run. */
  readonly loadAverage: number;
}

export async function describeMachine(): Promise<Machine> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  return {
    cpu: os.cpus()[0]?.model.trim() || os.arch(),
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(release)?.[1] ?? "",
    node: process.version,
    openssl: process.versions.openssl ?? "",
    commit: commitOf(),
    loadAverage: os.loadavg()[0] ?? 0,
  };
}

function commitOf(): string {
  const git = (...args: readonly string[]): string =>
    spawnSync("git", args, { cwd: repository, encoding: "utf8" }).stdout?.trim() ?? "";
  const hash = git("rev-parse", "--short", "HEAD");
  return hash === ""
    ? ""
    : `${hash}${git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "*"}`;
}
