import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { CommandError, UsageError } from "./failure.js";
import type { Terminal } from "./terminal.js";

/** A text of documents and what errors call it. */
export interface DocumentFile {
  readonly name: string;
  readonly text: string;
}

/**
 * The files that `-f` names; of a folder its .yaml, .yml and .json files by name; `-` is standard input.
 *
 * @throws UsageError when none is named, CommandError when one cannot be read.
 */
export async function readDocumentFiles(
  named: readonly string[],
  terminal: Pick<Terminal, "input">,
): Promise<readonly DocumentFile[]> {
  if (named.length === 0)
    throw new UsageError("-f", "is missing; name a file, a folder or - for standard input");
  const files: DocumentFile[] = [];
  for (const name of named) {
    if (name === "-") files.push({ name: "-", text: await terminal.input() });
    else for (const file of await filesOf(name)) files.push({ name: file, text: await readOne(file) });
  }
  return files;
}

async function filesOf(name: string): Promise<readonly string[]> {
  try {
    if (!(await stat(name)).isDirectory()) return [name];
    const entries = (await readdir(name)).filter((entry) => /^[^.].*\.(ya?ml|json)$/.test(entry));
    if (entries.length === 0) throw new CommandError(`${name}: has no .yaml file; name another folder`);
    return entries.sort().map((entry) => path.join(name, entry));
  } catch (error: unknown) {
    throw unreadable(name, error);
  }
}

async function readOne(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    throw unreadable(file, error);
  }
}

function unreadable(name: string, error: unknown): Error {
  if (error instanceof CommandError) return error;
  const { code } = error as NodeJS.ErrnoException;
  return new CommandError(`${name}: cannot be read (${code}); check the path and its permissions`, {
    cause: error,
  });
}
