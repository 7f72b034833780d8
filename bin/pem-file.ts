import { readFile } from "node:fs/promises";
import { CertificateError } from "../certs/certificate-error.js";
import { CommandError } from "./failure.js";
import type { Terminal } from "./terminal.js";

/** Reads a PEM file; `-` is standard input. @throws CommandError */
export async function readPemFile(file: string, terminal: Pick<Terminal, "input">): Promise<string> {
  if (file === "-") return terminal.input();
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(`${file}: cannot be read (${code}); check the path and its permissions`, {
      cause: error,
    });
  }
}

/** Names the file in what the reading of certificates has to say of it. */
export function inFile<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error: unknown) {
    if (error instanceof CertificateError)
      throw new CommandError(`${file}: ${error.message}; name a PEM file of certificates`, { cause: error });
    throw error;
  }
}
