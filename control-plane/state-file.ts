import { writeFileAtomic } from "../certs/secret-file.js";
import { ConfigError } from "../src/errors/config-error.js";
import { readSecretText } from "../src/identity/secret-text.js";

/** What stands in a state file; nothing of it is checked but that it is an object of our version. */
export type StateFields = Readonly<Record<string, unknown>>;

const version = 1;

/**
 * Reads what writeStateFile wrote; undefined when there is no file.
 * @param state.parse undefined when the fields are not what was written there.
 * @param state.fix what an operator does about a damaged file.
 * @throws ConfigError when it is damaged or others can read it: it must not be taken for none.
 */
export async function readStateFile<T>(
  file: string,
  state: { readonly parse: (fields: StateFields) => T | undefined; readonly fix: string },
): Promise<T | undefined> {
  const text = await readSecretText(file);
  if (text === undefined) return undefined;
  const fields = fieldsOf(text);
  const content = fields && state.parse(fields);
  if (content === undefined) throw damagedState(file, state.fix);
  return content;
}

/** Replaces the file as a whole, for its owner alone. @throws Error of node:fs */
export async function writeStateFile(file: string, fields: StateFields): Promise<void> {
  await writeFileAtomic(file, stateText(fields));
}

export function stateText(fields: StateFields): string {
  return `${JSON.stringify({ version, ...fields }, undefined, 1)}\n`;
}

/** For what only a closer look finds. No cause: it could quote a secret. */
export function damagedState(file: string, fix: string, reason?: string): ConfigError {
  return new ConfigError(`${file} is damaged${reason === undefined ? "" : ` (${reason})`}: ${fix}`);
}

/** A file without a version is of the first one. */
function fieldsOf(text: string): StateFields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const fields = value as StateFields;
    return (fields["version"] ?? version) === version ? fields : undefined;
  } catch {
    return undefined;
  }
}
