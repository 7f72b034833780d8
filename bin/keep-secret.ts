import path from "node:path";
import { writeFileAtomic } from "../certs/secret-file.js";
import { CommandError } from "./failure.js";

/** Writes a secret to the file that `--out` names, for its owner alone. @throws CommandError */
export async function keepSecret(file: string, secret: string): Promise<void> {
  try {
    await writeFileAtomic(path.resolve(file), `${secret}\n`);
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(
      `--out: cannot write ${file} (${code}); choose a folder that this user may write to`,
      { cause: error },
    );
  }
}
