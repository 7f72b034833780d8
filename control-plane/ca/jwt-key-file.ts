import { readStateFile, stateText, type StateFields } from "../state-file.js";

/** A key that signs JWT-SVIDs, at rest. */
export interface StoredJwtKey {
  /** PKCS#8 PEM, encrypted when the CA's key is. */
  readonly keyPem: string;
  readonly activeFromMs: number;
}

/** Name of the file in the CA's folder. */
export const jwtKeyFile = "jwt-keys.json";

/** What an operator does about a damaged file. */
export const jwtKeyFix =
  "restore it from a backup, or remove it; JWT-SVIDs in use are then refused until they are fetched anew";

/** By the time that they begin to sign; none when there is no file. @throws ConfigError when it is damaged or readable by others. */
export async function readJwtKeyFile(file: string): Promise<readonly StoredJwtKey[]> {
  return (await readStateFile(file, { parse: parseKeys, fix: jwtKeyFix })) ?? [];
}

export function jwtKeyFileText(keys: readonly StoredJwtKey[]): string {
  return stateText({ keys: keys.map(({ keyPem, activeFromMs }) => ({ keyPem, activeFromMs })) });
}

function parseKeys({ keys }: StateFields): readonly StoredJwtKey[] | undefined {
  if (!Array.isArray(keys) || !keys.every(isKey)) return undefined;
  return keys.sort((a, b) => a.activeFromMs - b.activeFromMs);
}

function isKey(value: unknown): value is StoredJwtKey {
  const { keyPem, activeFromMs }: Partial<StoredJwtKey> = value ?? {};
  return typeof keyPem === "string" && typeof activeFromMs === "number";
}
