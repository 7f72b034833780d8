import { accessSync, constants } from "node:fs";
import path from "node:path";

/** The repository; this file runs as dist/bench/program-path.js. */
export const repository = path.resolve(import.meta.dirname, "../..");

/** Daemons live in sbin, which ordinary users do not have on PATH; install-peers.sh unpacks into the last folder. */
const furtherFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin", path.join(repository, ".cache/peers/bin")];

/** Where a program is; undefined when the machine does not have it. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(path.delimiter), ...furtherFolders];
  return folders.map((folder) => path.join(folder, name)).find(isExecutable);
}

/** Throws an error that says how to get the program. */
export function requireProgram(name: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  const what = name === "consul" ? "consul" : "bench";
  throw new Error(`no ${name} on this machine; test/support/install-peers.sh ${what} fetches it`);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
