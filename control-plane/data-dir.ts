import { link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import path from "node:path";
import { makePrivateFolder, SecretFileError } from "../certs/secret-file.js";
import { ConfigError } from "../src/errors/config-error.js";

/** The control plane's folder, ours alone until it is released. */
export interface DataDir {
  readonly path: string;
  /** Idempotent. */
  release(): Promise<void>;
}

/** Two attempts recover a stale lock even when another process does the same at once. */
const maxAttempts = 3;
/** One of them is in every data folder that was used, or prepared for use. */
const marks = ["admin.token", "ca", "consul-ca", "lock", "policies"];

/**
 * Makes the folder (0700) if needed and locks it: two control planes would overwrite each other's join tokens and
 * documents. The lock of a process that is gone is taken over.
 *
 * @throws ConfigError when it cannot be used, or another control plane uses it.
 */
export async function lockDataDir(folder: string): Promise<DataDir> {
  const directory = path.resolve(folder);
  const file = path.join(directory, "lock");
  const own = `${process.pid} ${await startTime(process.pid)}\n`;
  try {
    await makePrivateFolder(directory, marks);
    // Written elsewhere and linked: nobody ever reads half of a lock.
    const draft = `${file}.${randomUUID()}.tmp`;
    await writeFile(draft, own, { mode: 0o600, flag: "wx" });
    try {
      await take(file, draft, directory);
    } finally {
      await rm(draft, { force: true });
    }
  } catch (error: unknown) {
    if (error instanceof ConfigError) throw error;
    if (error instanceof SecretFileError)
      throw new ConfigError(error.message, { place: "--data-dir", cause: error });
    throw new ConfigError(
      `cannot use ${directory} (${(error as NodeJS.ErrnoException).code ?? String(error)}): choose a folder that this user may write to, on a disk with space`,
      { place: "--data-dir", cause: error },
    );
  }
  return {
    path: directory,
    release: async () => {
      if ((await readLock(file)) === own) await rm(file, { force: true });
    },
  };
}

/** The process whose control plane uses `folder` now; undefined when none does. */
export async function holderOf(folder: string): Promise<string | undefined> {
  const lock = await readLock(path.join(folder, "lock")).catch(() => undefined);
  return lock !== undefined && (await isAlive(lock)) ? lock.split(" ")[0] : undefined;
}

async function take(file: string, draft: string, directory: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await link(draft, file);
    } catch (error: unknown) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = await readLock(file);
    if (holder === undefined) continue;
    if ((await isAlive(holder)) || attempt >= maxAttempts)
      throw new ConfigError(
        `${directory} is in use by another control plane (process ${holder.split(" ")[0]}): stop it, or choose another folder`,
        { place: "--data-dir" },
      );
    // By rename, so that of two who recover it only one takes the stale lock away, and never a fresh one.
    const stale = `${file}.${randomUUID()}.stale`;
    await rename(file, stale).catch(() => undefined);
    if ((await readLock(stale)) !== holder) await link(stale, file).catch(() => undefined);
    await rm(stale, { force: true });
  }
}

async function readLock(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Is the process that wrote this lock still there? Its number may belong to another one by now. */
async function isAlive(lock: string): Promise<boolean> {
  const [pidText = "", started = ""] = lock.trim().split(" ");
  const pid = Number(pidText);
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error: unknown) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return (await startTime(pid)) === started;
}

/** When a process was started, in ticks since boot: proc(5), stat, field 22. "-" where there is no /proc. */
async function startTime(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name in field 2 may hold spaces and parentheses.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "-";
  } catch {
    return "-";
  }
}
