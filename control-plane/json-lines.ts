import { constants } from "node:fs";
import { open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { syncFolder } from "../certs/secret-file.js";
import { ConfigError } from "../src/errors/config-error.js";
import type { Clock } from "../src/time/clock.js";

/**
 * A file of JSON lines that is only ever appended to, with its older parts beside it. Several processes may append to one:
 * a line is one write at the end of the file.
 */
export interface JsonLines<T> {
  /**
   * Resolves when the entry is on the disk, through a power cut. Entries that wait together cost one flush.
   * @throws ConfigError when it cannot be: the caller must then not do what the entry tells of.
   */
  append(entry: T): Promise<void>;
  /** Oldest first. Lines that are damaged, such as the last one of a crash, are left out. */
  read(): AsyncIterable<T>;
}

export interface JsonLinesOptions<T> {
  readonly folder: string;
  /** `<name>.jsonl`, older parts `<name>.<time of its end>.<needed until>.jsonl`. */
  readonly name: string;
  /** What it is, for errors: "the issuance log". */
  readonly what: string;
  /** An entry, or undefined when the line holds none. */
  readonly parse: (value: unknown) => T | undefined;
  /** Unix milliseconds; a part is kept until all of its entries are over. */
  readonly neededUntilMs: (entry: T) => number;
  readonly clock: Clock;
  /** A part is closed when it is longer. Default 8 MiB. */
  readonly maxBytes?: number;
  /** Parts that nobody needs any more are kept as history, so many of them. Default 8. */
  readonly keepParts?: number;
}

const defaultMaxBytes = 8 * 1024 * 1024;
const defaultKeepParts = 8;
const newline = 0x0a;
/** Appending, and reading its last byte; nobody else reads it. */
const appendFlags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT;

export function openJsonLines<T>(options: JsonLinesOptions<T>): JsonLines<T> {
  const file = path.join(options.folder, `${options.name}.jsonl`);
  const maxBytes = options.maxBytes ?? defaultMaxBytes;
  let waiting: Waiting[] = [];
  let isWriting = false;

  const write = async (): Promise<void> => {
    isWriting = true;
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        const bytes = await appendText(file, batch.map(({ line }) => line).join(""));
        for (const { resolve } of batch) resolve();
        // What is on the disk is on the disk: a part that cannot be closed grows until the next try.
        if (bytes > maxBytes) await closePart(file, options).catch(() => undefined);
      } catch (error: unknown) {
        for (const { reject } of batch) reject(unwritable(error, file, options.what));
      }
    }
    isWriting = false;
  };
  return {
    append: (entry) =>
      new Promise((resolve, reject) => {
        waiting.push({ line: `${JSON.stringify(entry)}\n`, resolve, reject });
        if (!isWriting) void write();
      }),
    async *read() {
      // Opened before the parts are looked for: if it is closed as a part meanwhile, it is known again.
      const current = await openToRead(file);
      try {
        for (const part of await partsOf(options)) {
          const older = await openToRead(path.join(options.folder, part.name));
          if (older !== undefined && !(await isSame(older, current))) yield* readLines(older, options);
          await older?.close();
        }
        if (current !== undefined) yield* readLines(current, options);
      } finally {
        await current?.close();
      }
    },
  };
}

interface Waiting {
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** @returns the length of the file afterwards. */
async function appendText(file: string, text: string): Promise<number> {
  const handle = await open(file, appendFlags, 0o600);
  try {
    const { size } = await handle.stat();
    // A line that a crash or a full disk cut off must not swallow the next one.
    const isCut = size > 0 && (await handle.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0] !== newline;
    const bytes = Buffer.from(isCut ? `\n${text}` : text);
    const { bytesWritten } = await handle.write(bytes);
    if (bytesWritten !== bytes.length) throw Object.assign(new Error("short write"), { code: "ENOSPC" });
    await handle.datasync();
    if (size === 0) await syncFolder(path.dirname(file));
    return size + bytes.length;
  } finally {
    await handle.close();
  }
}

function unwritable(error: unknown, file: string, what: string): ConfigError {
  const { code } = error as NodeJS.ErrnoException;
  const fix =
    code === "ENOSPC" || code === "EDQUOT"
      ? "free space on its disk"
      : "give the file to the user that runs this";
  return new ConfigError(`${what} cannot be written (${file}: ${code ?? String(error)}): ${fix}`, {
    cause: error,
  });
}

async function closePart<T>(file: string, options: JsonLinesOptions<T>): Promise<void> {
  const { folder, name, clock, neededUntilMs } = options;
  let untilMs = 0;
  const handle = await open(file, constants.O_RDONLY);
  try {
    for await (const entry of readLines(handle, options)) untilMs = Math.max(untilMs, neededUntilMs(entry));
  } finally {
    await handle.close();
  }
  const partName = (endMs: number): string => path.join(folder, `${name}.${endMs}.${untilMs}.jsonl`);
  let endMs = clock.wallMs();
  // Two parts of one millisecond: rename would replace the first.
  while (await exists(partName(endMs))) endMs += 1;
  await rename(file, partName(endMs));
  await syncFolder(folder);
  const over = (await partsOf(options)).filter((part) => part.untilMs < clock.wallMs());
  const kept = options.keepParts ?? defaultKeepParts;
  for (const part of over.slice(0, Math.max(0, over.length - kept)))
    await rm(path.join(folder, part.name), { force: true });
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

/** Oldest first. */
async function partsOf<T>({ folder, name }: JsonLinesOptions<T>) {
  const names = await readdir(folder).catch(() => []);
  return names
    .flatMap((file) => {
      const [base, end = "", until = "", ...rest] = file.split(".");
      const isPart = base === name && /^\d+$/.test(end) && /^\d+$/.test(until) && rest.join() === "jsonl";
      return isPart ? [{ name: file, endMs: Number(end), untilMs: Number(until) }] : [];
    })
    .sort((a, b) => a.endMs - b.endMs);
}

/** undefined when it is not there. */
async function openToRead(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file, constants.O_RDONLY);
  } catch (error: unknown) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function isSame(one: FileHandle, other: FileHandle | undefined): Promise<boolean> {
  return other !== undefined && (await one.stat()).ino === (await other.stat()).ino;
}

async function* readLines<T>(handle: FileHandle, { parse }: JsonLinesOptions<T>): AsyncGenerator<T> {
  const input = handle.createReadStream({ encoding: "utf8", autoClose: false });
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    const entry = parse(parseJson(line));
    if (entry !== undefined) yield entry;
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
