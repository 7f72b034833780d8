import { readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import { randomUUID } from "node:crypto";
import { createRootCa, loadAuthority, type Authority } from "../../certs/authority.js";
import { CertificateError } from "../../certs/certificate-error.js";
import {
  makeFolder,
  makePrivateFolder,
  readSecretFile,
  SecretFileError,
  writeFileAtomic,
} from "../../certs/secret-file.js";
import { isTrustDomain } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";

/** Names inside a CA folder. */
const certFile = "root.crt";
const keyFile = "root.key";

export interface RootStoreOptions {
  /** The CA's own folder, `<data-dir>/ca`. */
  readonly dir: string;
  readonly trustDomain: string;
  readonly nowMs: number;
}

/**
 * The CA in `dir`, made there if the folder has none.
 * @throws ConfigError that names the file and the fix.
 */
export async function loadOrCreateRoot(options: RootStoreOptions): Promise<Authority> {
  const known = await loadRoot(options.dir);
  if (known === undefined) await createRoot(options);
  const root = known ?? (await loadRoot(options.dir));
  if (root === undefined)
    throw new ConfigError(`${options.dir} holds other files but no CA: choose an empty or a new folder`);
  if (root.trustDomain !== options.trustDomain) {
    const fix = `start with that trust domain, or give another --data-dir`;
    throw new ConfigError(
      `${options.dir} holds the CA of trust domain ${root.trustDomain}, not ${options.trustDomain}: ${fix}`,
    );
  }
  if (options.nowMs >= root.certificate.notAfterMs) {
    const fix = `move the folder away, restart, and let every sidecar join again`;
    throw new ConfigError(`the root CA in ${options.dir} has expired: ${fix}`);
  }
  return root;
}

/** The CA in `dir`; undefined when there is none. @throws ConfigError when it is damaged, incomplete or readable by others. */
export async function loadRoot(dir: string): Promise<Authority | undefined> {
  const [certPem, keyPem] = await Promise.all([readCertificate(dir), readKey(dir)]);
  if (certPem === undefined && keyPem === undefined) return undefined;
  if (certPem === undefined || keyPem === undefined) {
    const missing = path.join(dir, certPem === undefined ? certFile : keyFile);
    throw new ConfigError(`${missing} is missing beside the rest of the CA: restore it from a backup`);
  }
  try {
    return loadAuthority(certPem, keyPem);
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    throw new ConfigError(`the CA in ${dir} cannot be used: ${error.message}; restore it from a backup`, {
      cause: error,
    });
  }
}

/**
 * Makes a CA in `dir`, which must not hold one. @throws ConfigError
 */
export async function initCa(options: RootStoreOptions): Promise<Authority> {
  if ((await loadRoot(options.dir)) !== undefined) {
    const fix = "a second one would cut off every sidecar of the first; choose another folder";
    throw new ConfigError(`${options.dir} already holds a CA: ${fix}`);
  }
  return loadOrCreateRoot(options);
}

/** The folder appears whole, by rename: of two processes that start together one wins and both use its CA. */
async function createRoot({ dir, trustDomain, nowMs }: RootStoreOptions): Promise<void> {
  if (!isTrustDomain(trustDomain))
    throw new ConfigError(`${JSON.stringify(trustDomain)} is no trust domain: use a-z, 0-9, dot, dash`);
  const temporary = `${path.resolve(dir)}.${randomUUID()}.tmp`;
  try {
    await makeFolder(path.dirname(temporary), 0o700);
    await makePrivateFolder(temporary);
    const { certPem, keyPem } = await createRootCa({ trustDomain, nowMs });
    await writeFileAtomic(path.join(temporary, keyFile), keyPem);
    await writeFileAtomic(path.join(temporary, certFile), certPem, 0o644);
    await rename(temporary, path.resolve(dir));
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST") return; // somebody else's is there: loadRoot judges it
    if (code === undefined) throw error;
    const fix = "choose a folder that this user may write to, on a disk with space";
    throw new ConfigError(`cannot create the CA in ${dir} (${code}): ${fix}`, { cause: error });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function readCertificate(dir: string): Promise<string | undefined> {
  try {
    return await readFile(path.join(dir, certFile), "utf8");
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new ConfigError(`cannot read ${path.join(dir, certFile)} (${code})`, { cause: error });
  }
}

async function readKey(dir: string): Promise<string | undefined> {
  try {
    return await readSecretFile(path.join(dir, keyFile));
  } catch (error: unknown) {
    if (error instanceof SecretFileError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
