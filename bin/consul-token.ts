import { readFile } from "node:fs/promises";
import { CommandError } from "./failure.js";

/** Consul's ACL token out of its file; undefined when none is named. @throws CommandError */
export async function readConsulToken(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(
      `--consul-token-file: cannot read ${file} (${code}); check the path and its permissions`,
      { cause: error },
    );
  }
}
