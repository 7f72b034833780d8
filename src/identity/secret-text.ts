import { readSecretFile, SecretFileError } from "../../certs/secret-file.js";
import { ConfigError } from "../errors/config-error.js";

/**
 * The text of a file that nobody but its owner may read; undefined when there is none.
 * @throws ConfigError that names the file and the fix: others may read it, or we may not.
 */
export async function readSecretText(file: string): Promise<string | undefined> {
  try {
    return await readSecretFile(file);
  } catch (error: unknown) {
    throw error instanceof SecretFileError ? new ConfigError(error.message, { cause: error }) : error;
  }
}
