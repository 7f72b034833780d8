import { messageOf } from "../../src/errors/message-of.js";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { ConfigError } from "../../src/errors/config-error.js";

/** A file as it shall be: its new text, or undefined to remove it. */
export interface FileChange {
  readonly name: string;
  readonly text: string | undefined;
}

/** Begin and end of the names of files that are not finished; readers of the directory skip them. */
export const temporaryPrefix = ".remora-";
export const temporarySuffix = ".tmp";

/**
 * Writes every file beside its place first and moves them all there only when every byte is on disk, so that a full disk
 * or a crash leaves each file either as it was or as it shall be.
 *
 * @throws ConfigError when nothing could be written; then nothing has changed.
 */
export async function changeFiles(directory: string, changes: readonly FileChange[]): Promise<void> {
  const written: { readonly from: string; readonly to: string }[] = [];
  try {
    for (const change of changes) {
      if (change.text === undefined) continue;
      const to = path.join(directory, change.name);
      const from = path.join(directory, `${temporaryPrefix}${change.name}.${process.pid}${temporarySuffix}`);
      written.push({ from, to });
      await writeDurably(from, change.text);
    }
  } catch (error: unknown) {
    await Promise.all(written.map((file) => rm(file.from, { force: true }).catch(() => undefined)));
    throw notWritten(directory, error);
  }
  try {
    for (const file of written) await rename(file.from, file.to);
    for (const change of changes) {
      if (change.text === undefined) await rm(path.join(directory, change.name), { force: true });
    }
    await syncDirectory(directory);
  } catch (error: unknown) {
    await Promise.all(written.map((file) => rm(file.from, { force: true }).catch(() => undefined)));
    throw notWritten(directory, error);
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  const handle = await open(file, "w", 0o640);
  try {
    await handle.writeFile(text);
    // The mode of open() does not hold for a file that was left over.
    await handle.chmod(0o640);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A rename is on disk only when its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const fixes: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full: free some space and apply again",
  EDQUOT: "the disk quota is used up: free some space and apply again",
  EROFS: "the file system is read-only: remount it or choose another directory with --policies",
  EACCES: "no permission to write there: change the owner of the directory",
  EPERM: "no permission to write there: change the owner of the directory",
  ENOENT: "the directory is gone: create it again",
};

function notWritten(directory: string, error: unknown): ConfigError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const reason = fixes[code] ?? messageOf(error);
  return new ConfigError(`nothing was stored: ${reason}`, { place: directory, cause: error });
}
