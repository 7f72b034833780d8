import path from "node:path";
import { CertificateError } from "../../certs/certificate-error.js";
import { encryptKeyPem, isEncryptedKey, openKeyPem } from "../../certs/encrypted-key.js";
import { replaceFiles, type NewFile } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { holderOf } from "../data-dir.js";
import { jwtKeyFile, jwtKeyFileText, readJwtKeyFile, type StoredJwtKey } from "./jwt-key-file.js";
import { caFiles } from "./root-store.js";

interface Passphrases {
  readonly passphrase: string;
  /** Of keys that are encrypted already. */
  readonly oldPassphrase: string | undefined;
}

/**
 * `remora ca encrypt-key`: encrypts the keys in a CA folder, those of JWT-SVIDs among them, or gives them another passphrase.
 * All are read, and written beside the old ones, before the first takes its place. When a crash leaves some of them with the old
 * passphrase, the same command again does the rest.
 * @returns the files. @throws ConfigError
 */
export async function encryptCaKeys(
  options: Passphrases & { readonly dir: string },
): Promise<readonly string[]> {
  const { dir } = options;
  const holder = await holderOf(path.dirname(dir));
  if (holder !== undefined)
    throw new ConfigError(
      `${dir} is in use by a control plane (process ${holder}): stop it first; sidecars go on without it`,
    );
  const names = [caFiles.rootKey, caFiles.intermediateKey];
  const files = [dir, path.join(dir, "next")].flatMap((folder) =>
    names.map((name) => path.join(folder, name)),
  );
  const encrypted: NewFile[] = [];
  for (const file of files) {
    const keyPem = await readSecretText(file);
    if (keyPem !== undefined) encrypted.push({ file, content: await encrypt(file, keyPem, options) });
  }
  // Last: the control plane encrypts these by itself when it finds them plain beside an encrypted CA.
  const jwtFile = path.join(dir, jwtKeyFile);
  const jwtKeys = await readJwtKeyFile(jwtFile);
  if (jwtKeys.length > 0)
    encrypted.push({ file: jwtFile, content: await encryptJwtKeys(jwtFile, jwtKeys, options) });
  if (encrypted.length === 0)
    throw new ConfigError(`${dir} holds no key of a CA: name the folder with root.key or intermediate.key`);
  await replaceFiles(encrypted);
  return encrypted.map(({ file }) => file);
}

async function encryptJwtKeys(
  file: string,
  keys: readonly StoredJwtKey[],
  passphrases: Passphrases,
): Promise<string> {
  const encrypted: StoredJwtKey[] = [];
  for (const { keyPem, activeFromMs } of keys)
    encrypted.push({ keyPem: await encrypt(file, keyPem, passphrases), activeFromMs });
  return jwtKeyFileText(encrypted);
}

async function encrypt(
  file: string,
  keyPem: string,
  { passphrase, oldPassphrase }: Passphrases,
): Promise<string> {
  if (isEncryptedKey(keyPem) && opens(keyPem, passphrase)) return keyPem;
  try {
    const plain = openKeyPem(keyPem, oldPassphrase).export({ type: "pkcs8", format: "pem" }).toString();
    return await encryptKeyPem(plain, passphrase);
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    const fix = error.reason === "key_encrypted" ? "; here: --old-passphrase-file" : "";
    throw new ConfigError(`${file}: ${error.message}${fix}`, { cause: error });
  }
}

/** An earlier run that was cut short may have been here already. */
function opens(keyPem: string, passphrase: string): boolean {
  try {
    openKeyPem(keyPem, passphrase);
    return true;
  } catch {
    return false;
  }
}
