import { randomUUID, X509Certificate } from "node:crypto";
import { readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { createRootCa, loadAuthority, type Authority } from "../../certs/authority.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { encryptKeyPem, isEncryptedKey, openKeyPem } from "../../certs/encrypted-key.js";
import { makeFolder, makePrivateFolder, writeFileAtomic } from "../../certs/secret-file.js";
import { isTrustDomain } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";

/** Names inside a CA folder. With an intermediate the root's key is elsewhere. */
export const caFiles = {
  rootCert: "root.crt",
  rootKey: "root.key",
  intermediateCert: "intermediate.crt",
  intermediateKey: "intermediate.key",
} as const;

export interface RootStoreOptions {
  /** The CA's own folder, `<data-dir>/ca`. */
  readonly dir: string;
  readonly trustDomain: string;
  readonly nowMs: number;
  /** Of its key; undefined: the key is not encrypted. */
  readonly passphrase?: string | undefined;
}

/**
 * The CA in `dir`, made there if the folder has none.
 * @throws ConfigError that names the file and the fix.
 */
export async function loadOrCreateRoot(options: RootStoreOptions): Promise<Authority> {
  const { dir, passphrase } = options;
  const known = await loadRoot(dir, passphrase);
  if (known === undefined) await createRoot(options);
  const ca = known ?? (await loadRoot(dir, passphrase));
  if (ca === undefined)
    throw new ConfigError(`${dir} holds other files but no CA: choose an empty or a new folder`);
  assertUsable(ca, options);
  return ca;
}

/** @throws ConfigError for the CA of another trust domain, and for one that has expired. */
export function assertUsable(
  ca: Authority,
  { dir, trustDomain, nowMs }: Pick<RootStoreOptions, "dir" | "trustDomain" | "nowMs">,
): void {
  if (ca.trustDomain !== trustDomain) {
    const fix = `start with that trust domain, or give another --data-dir`;
    throw new ConfigError(
      `${dir} holds the CA of trust domain ${ca.trustDomain}, not ${trustDomain}: ${fix}`,
    );
  }
  if (nowMs < ca.certificate.notAfterMs) return;
  const [what, fix] =
    ca.intermediatesPem === ""
      ? ["root CA", "move the folder away, restart, and let every sidecar join again"]
      : ["intermediate CA", "put a new one there, made with remora ca intermediate where the root is"];
  throw new ConfigError(`the ${what} in ${dir} has expired: ${fix}`);
}

/**
 * The CA in `dir`, an intermediate where there is one; undefined when there is none.
 * @throws ConfigError when it is damaged, incomplete or readable by others, or the passphrase is wrong. Nothing is changed.
 */
export async function loadRoot(dir: string, passphrase?: string): Promise<Authority | undefined> {
  const [rootCert, rootKey, intermediateCert, intermediateKey] = await Promise.all([
    readCertificate(path.join(dir, caFiles.rootCert)),
    readSecretText(path.join(dir, caFiles.rootKey)),
    readCertificate(path.join(dir, caFiles.intermediateCert)),
    readSecretText(path.join(dir, caFiles.intermediateKey)),
  ]);
  if (intermediateCert !== undefined || intermediateKey !== undefined) {
    const cert = present(dir, caFiles.intermediateCert, intermediateCert);
    const key = present(dir, caFiles.intermediateKey, intermediateKey);
    const root = present(dir, caFiles.rootCert, rootCert);
    return load({
      dir,
      certPem: cert,
      keyPem: key,
      rootPem: root,
      passphrase,
      keyName: caFiles.intermediateKey,
    });
  }
  if (rootCert === undefined && rootKey === undefined) return undefined;
  const cert = present(dir, caFiles.rootCert, rootCert);
  const key = present(dir, caFiles.rootKey, rootKey);
  return load({ dir, certPem: cert, keyPem: key, rootPem: undefined, passphrase, keyName: caFiles.rootKey });
}

/** What an operator is told of a key that no or a wrong passphrase was given for; undefined when something else is wrong. */
export function passphraseMistake(file: string, { reason, message }: CertificateError): string | undefined {
  if (reason === "key_encrypted") return `${file}: ${message}`;
  if (reason !== "wrong_passphrase") return undefined;
  return `${file}: ${message}; if remora ca encrypt-key was cut short, run it again`;
}

/**
 * Makes a CA in `dir`, which must not hold one. @throws ConfigError
 */
export async function initCa(options: RootStoreOptions): Promise<Authority> {
  const holds = `${options.dir} already holds a CA`;
  const fix = "a second one would cut off every sidecar of the first; choose another folder";
  const files = [caFiles.rootCert, caFiles.rootKey].map((name) => path.join(options.dir, name));
  // Not by loading it: one that cannot be opened is a CA too.
  const found = await Promise.all(files.map((file) => readCertificate(file)));
  if (found.some((text) => text !== undefined)) throw new ConfigError(`${holds}: ${fix}`);
  return loadOrCreateRoot(options);
}

interface Parts {
  readonly dir: string;
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootPem: string | undefined;
  readonly passphrase: string | undefined;
  readonly keyName: string;
}

function load({ dir, certPem, keyPem, rootPem, passphrase, keyName }: Parts): Authority {
  const keyFile = path.join(dir, keyName);
  if (passphrase !== undefined && !isEncryptedKey(keyPem)) {
    const fix = `encrypt it with remora ca encrypt-key --dir ${dir}, or leave the passphrase out`;
    throw new ConfigError(`${keyFile} is not encrypted although there is a passphrase for it: ${fix}`);
  }
  try {
    const ca = loadAuthority(certPem, openKeyPem(keyPem, passphrase), rootPem);
    if (rootPem !== undefined) assertSignedBy(certPem, rootPem);
    return ca;
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    const damage = `the CA in ${dir} cannot be used: ${error.message}; restore it from a backup`;
    throw new ConfigError(passphraseMistake(keyFile, error) ?? damage, { cause: error });
  }
}

function assertSignedBy(certPem: string, rootPem: string): void {
  const [cert, root] = [new X509Certificate(certPem), new X509Certificate(rootPem)];
  if (!cert.checkIssued(root) || !cert.verify(root.publicKey)) throw new CertificateError("unknown_issuer");
}

function present(dir: string, name: string, text: string | undefined): string {
  if (text !== undefined) return text;
  throw new ConfigError(
    `${path.join(dir, name)} is missing beside the rest of the CA: restore it from a backup`,
  );
}

/** The folder appears whole, by rename: of two processes that start together one wins and both use its CA. */
async function createRoot({ dir, trustDomain, nowMs, passphrase }: RootStoreOptions): Promise<void> {
  if (!isTrustDomain(trustDomain))
    throw new ConfigError(`${JSON.stringify(trustDomain)} is no trust domain: use a-z, 0-9, dot, dash`);
  const { certPem, keyPem } = await createRootCa({ trustDomain, nowMs });
  await writeCaFolder(dir, {
    [caFiles.rootKey]: passphrase === undefined ? keyPem : await encryptKeyPem(keyPem, passphrase),
    [caFiles.rootCert]: certPem,
  });
}

/**
 * Makes the folder with these files, whole or not at all. Keys 0600. When it is there already, nothing happens: whoever reads
 * it judges it.
 * @throws ConfigError
 */
export async function writeCaFolder(dir: string, files: Readonly<Record<string, string>>): Promise<void> {
  const temporary = `${path.resolve(dir)}.${randomUUID()}.tmp`;
  try {
    await makeFolder(path.dirname(temporary), 0o700);
    await makePrivateFolder(temporary);
    for (const [name, text] of Object.entries(files))
      await writeFileAtomic(path.join(temporary, name), text, name.endsWith(".key") ? 0o600 : 0o644);
    await rename(temporary, path.resolve(dir));
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST") return;
    if (code === undefined) throw error;
    const fix = "choose a folder that this user may write to, on a disk with space";
    throw new ConfigError(`cannot create the CA in ${dir} (${code}): ${fix}`, { cause: error });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function readCertificate(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new ConfigError(`cannot read ${file} (${code}): name a folder that this user may read`, {
      cause: error,
    });
  }
}
