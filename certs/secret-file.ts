import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";

/** A secret file that is unfit to use: the text names the file and the fix. */
export class SecretFileError extends Error {
  override readonly name = "SecretFileError";
}

/** Keys, tokens and identities are small; a wrong path may name anything. */
const maxBytes = 4 * 1024 * 1024;

/** A file as it shall be. */
export interface NewFile {
  readonly file: string;
  readonly content: string | Uint8Array;
  /** Default 0600: nobody but the owner can read it at any moment. */
  readonly mode?: number;
}

/**
 * Replaces `file` so that a reader, or a crash, sees the old content or the new one and never a part. Nobody but the owner
 * can read it at any moment when `mode` is 0600, the default.
 */
export function writeFileAtomic(file: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  return replaceFiles([{ file, content, mode }]);
}

/**
 * Replaces several files, each as a whole. All are on the disk before the first takes its place: a full disk changes none of
 * them, and a crash between two leaves those at the front of the list new and the others old.
 */
export async function replaceFiles(files: readonly NewFile[]): Promise<void> {
  const written = files.map((each) => ({ ...each, temporary: `${each.file}.${randomUUID()}.tmp` }));
  try {
    for (const { temporary, content, mode = 0o600 } of written) await writeNew(temporary, content, mode);
    for (const { temporary, file } of written) await rename(temporary, file);
  } catch (error: unknown) {
    for (const { temporary } of written) await rm(temporary, { force: true });
    throw error;
  }
  for (const folder of new Set(files.map(({ file }) => path.dirname(file)))) await syncFolder(folder);
}

async function writeNew(file: string, content: string | Uint8Array, mode: number): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    await handle.chmod(mode); // the process' umask may have taken bits away
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const leftover = /\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;
/** No write takes so long. */
const leftoverAgeMs = 60_000;

/**
 * Removes what replaceFiles left in `folder` when its process was killed, and folders that were to be renamed likewise: they
 * may hold a key. Nothing but these names is touched. Never rejects.
 */
export async function removeLeftovers(folder: string, nowMs: number): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => leftover.test(each))) {
    const file = path.join(folder, name);
    const found = await lstat(file).catch(() => undefined);
    if (found !== undefined && nowMs - found.mtimeMs > leftoverAgeMs)
      await rm(file, { force: true, recursive: true }).catch(() => undefined);
  }
}

/** Makes a rename in `folder` last over a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes a folder with those above it that are missing; nothing happens when it is there. Not by `recursive` of mkdir, which
 * never ends where a file system refuses with ENOENT below a folder that exists: /proc does, and a link to nowhere.
 */
export async function makeFolder(folder: string, mode: number): Promise<void> {
  try {
    await mkdir(folder, { mode });
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && path.dirname(folder) !== folder) {
      await makeFolder(path.dirname(folder), mode);
      return mkdirOnce(folder, mode);
    }
    if (!(await isFolder(folder))) throw error;
  }
}

/** Somebody else may be faster. */
async function mkdirOnce(folder: string, mode: number): Promise<void> {
  try {
    await mkdir(folder, { mode });
  } catch (error: unknown) {
    if (!(await isFolder(folder))) throw error;
  }
}

async function isFolder(folder: string): Promise<boolean> {
  try {
    return (await stat(folder)).isDirectory();
  } catch {
    return false;
  }
}

/**
 * Makes a folder that only its owner can enter, and closes one that others could: not one with files of somebody else in it, as
 * a slip in a path must not close /tmp to a whole machine.
 * @param marks one of these names is in every folder of this kind that was used before; undefined: whatever is in it is ours.
 * @throws SecretFileError it was left as it is.
 */
export async function makePrivateFolder(folder: string, marks?: readonly string[]): Promise<void> {
  await makeFolder(folder, 0o700);
  const { mode } = await stat(folder);
  if ((mode & 0o077) === 0) return;
  const names = marks === undefined ? [] : (await readdir(folder)).filter((name) => name !== "lost+found");
  if (names.length > 0 && !names.some((name) => marks?.includes(name)))
    throw new SecretFileError(
      `${folder} holds files of something else and others can enter it (mode ${(mode & 0o777).toString(8)}): name a folder of its own`,
    );
  await chmod(folder, 0o700);
}

/**
 * Reads a file that holds a secret; undefined when there is none.
 * @throws SecretFileError when others may read or write it, or it is no ordinary file of a sensible size.
 */
export async function readSecretFile(file: string): Promise<string | undefined> {
  let handle;
  try {
    // Not blocking: opening a named pipe would otherwise wait for its writer for ever.
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ENOTDIR")
      throw new SecretFileError(`cannot read ${file}: ${path.dirname(file)} is no folder`);
    throw new SecretFileError(`cannot read ${file} (${code}): give it to the user that runs this command`, {
      cause: error,
    });
  }
  try {
    // Asked of the open file, not of the path, so that the file checked is the file read.
    const { mode, size, ...kind } = await handle.stat().then((s) => ({ ...s, isFile: s.isFile() }));
    if (!kind.isFile) throw new SecretFileError(`${file} is not an ordinary file`);
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8);
      throw new SecretFileError(`${file} can be read by others (mode ${octal}): run chmod 600 ${file}`);
    }
    if (size > maxBytes) throw new SecretFileError(`${file} is too large to be a key (${size} bytes)`);
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}
