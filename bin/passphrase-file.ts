import { readSecretFile, SecretFileError } from "../certs/secret-file.js";
import { CommandError } from "./failure.js";

/**
 * The passphrase in a file: its first line, or all of it for a key file. undefined when none is named.
 * @throws CommandError when others can read it, it is empty, or there is none.
 */
export async function readPassphrase(flag: string, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    const text = await readSecretFile(file);
    if (text === undefined)
      throw new CommandError(`${flag}: there is no ${file}; write the passphrase there`);
    const passphrase = text.replace(/\r?\n$/, "");
    if (passphrase === "") throw new CommandError(`${flag}: ${file} is empty; write the passphrase there`);
    return passphrase;
  } catch (error: unknown) {
    if (error instanceof SecretFileError)
      throw new CommandError(`${flag}: ${error.message}`, { cause: error });
    throw error;
  }
}
