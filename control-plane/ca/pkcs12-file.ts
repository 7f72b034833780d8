import { randomBytes } from "node:crypto";
import { writePkcs12 } from "../../certs/pkcs12.js";
import { readSecretFile, replaceFiles, SecretFileError } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Issued } from "./issuer.js";

export interface Pkcs12Files {
  readonly file: string;
  /** Where the passphrase is: the file that was named, or the one that was made. */
  readonly passphraseFile: string;
}

/** A passphrase is a line; more is a wrong file. */
const maxPassphraseLength = 1000;

/**
 * The passphrase for a key store: the first line of a file that must be nobody else's to read. Without `named` it is
 * `FILE.passphrase`, which keeps its passphrase when the key store is made anew, and gets one when it is not there. Never an
 * argument, which every user of the machine could read.
 * @throws ConfigError
 */
export async function pkcs12Passphrase(file: string, named: string | undefined) {
  const passphraseFile = named ?? `${file}.passphrase`;
  try {
    const text = await readSecretFile(passphraseFile);
    if (text === undefined && named === undefined)
      return { passphrase: randomBytes(24).toString("base64url"), passphraseFile, isNew: true };
    if (text === undefined) throw new SecretFileError(`${passphraseFile} does not exist`);
    const passphrase = text.split(/\r?\n/, 1)[0] ?? "";
    if (passphrase.length === 0 || passphrase.length > maxPassphraseLength)
      throw new SecretFileError(`${passphraseFile} must begin with a line that is the passphrase`);
    return { passphrase, passphraseFile, isNew: false };
  } catch (error: unknown) {
    if (!(error instanceof SecretFileError)) throw error;
    throw new ConfigError(error.message, {
      cause: error,
      place: named === undefined ? "--out" : "--passphrase-file",
    });
  }
}

/** Writes the key store, and the passphrase if it is new; both 0600. */
export async function writePkcs12File(
  file: string,
  name: string,
  {
    certChainPem,
    bundlePem,
    keyPem,
  }: Pick<Issued, "certChainPem" | "bundlePem"> & { readonly keyPem: string },
  { passphrase, passphraseFile, isNew }: Awaited<ReturnType<typeof pkcs12Passphrase>>,
): Promise<Pkcs12Files> {
  const store = writePkcs12({ name, certChainPem, keyPem, bundlePem, passphrase });
  try {
    // The passphrase first: a key store that nobody can open is of no use.
    const kept = isNew ? [{ file: passphraseFile, content: `${passphrase}\n` }] : [];
    await replaceFiles([...kept, { file, content: store }]);
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    const fix = "name a file in a folder that this user may write to";
    throw new ConfigError(`cannot write ${file} (${code}): ${fix}`, { cause: error, place: "--out" });
  }
  return { file, passphraseFile };
}
