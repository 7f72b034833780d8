import path from "node:path";
import { CertificateError } from "../../certs/certificate-error.js";
import { encryptKeyPem, openKeyPem } from "../../certs/encrypted-key.js";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { caFiles } from "./root-store.js";

/**
 * `remora ca encrypt-key`: encrypts the keys in a CA folder, or gives them another passphrase. Each file is replaced as a
 * whole, and only after all of them were read.
 * @returns the files. @throws ConfigError
 */
export async function encryptCaKeys(options: {
  readonly dir: string;
  readonly passphrase: string;
  /** Of keys that are encrypted already. */
  readonly oldPassphrase: string | undefined;
}): Promise<readonly string[]> {
  const { dir, passphrase, oldPassphrase } = options;
  const names = [caFiles.rootKey, caFiles.intermediateKey];
  const files = [dir, path.join(dir, "next")].flatMap((folder) =>
    names.map((name) => path.join(folder, name)),
  );
  const encrypted: (readonly [string, string])[] = [];
  for (const file of files) {
    const keyPem = await readSecretText(file);
    if (keyPem !== undefined) encrypted.push([file, await encrypt(file, keyPem, passphrase, oldPassphrase)]);
  }
  if (encrypted.length === 0)
    throw new ConfigError(`${dir} holds no key of a CA: name the folder with root.key or intermediate.key`);
  for (const [file, text] of encrypted) await writeFileAtomic(file, text);
  return encrypted.map(([file]) => file);
}

async function encrypt(
  file: string,
  keyPem: string,
  passphrase: string,
  oldPassphrase: string | undefined,
): Promise<string> {
  try {
    const plain = openKeyPem(keyPem, oldPassphrase).export({ type: "pkcs8", format: "pem" }).toString();
    return await encryptKeyPem(plain, passphrase);
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    const fix = error.reason === "key_encrypted" ? "; here: --old-passphrase-file" : "";
    throw new ConfigError(`${file}: ${error.message}${fix}`, { cause: error });
  }
}
