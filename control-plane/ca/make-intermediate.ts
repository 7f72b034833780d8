import { createIntermediateCa, type Authority } from "../../certs/authority.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { encryptKeyPem } from "../../certs/encrypted-key.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { caFiles, loadRoot, writeCaFolder } from "./root-store.js";

/**
 * `remora ca intermediate`: an intermediate of the root in `rootDir`, with the root's certificate and without its key, in
 * `outDir`, which must not exist. The folder is what a control plane takes as its CA.
 * @throws ConfigError that names the fix.
 */
export async function makeIntermediate(options: {
  readonly rootDir: string;
  readonly outDir: string;
  readonly lifetimeMs: number;
  readonly nowMs: number;
  readonly passphrase: string | undefined;
  readonly outPassphrase: string | undefined;
}): Promise<Authority> {
  const { rootDir, outDir, lifetimeMs, nowMs, passphrase, outPassphrase } = options;
  const root = await loadRoot(rootDir, passphrase);
  if (root === undefined) throw new ConfigError(`${rootDir} holds no CA: make one with remora ca init`);
  if (root.intermediatesPem !== "")
    throw new ConfigError(`${rootDir} holds an intermediate CA: name the folder of the root itself`);
  if (root.key.type !== "private") throw new ConfigError(`${rootDir} holds no private key`);
  const made = await explain(() => createIntermediateCa(root, { nowMs, lifetimeMs }));
  const { certPem } = made;
  const keyPem = outPassphrase === undefined ? made.keyPem : await encryptKeyPem(made.keyPem, outPassphrase);
  await writeCaFolder(outDir, {
    [caFiles.intermediateKey]: keyPem,
    [caFiles.intermediateCert]: certPem,
    [caFiles.rootCert]: root.rootPem,
  });
  const written = await loadRoot(outDir, outPassphrase).catch(() => undefined);
  // writeCaFolder leaves a folder alone that is there already.
  if (written?.certPem !== certPem)
    throw new ConfigError(`${outDir} is not empty: name a folder that does not exist yet`);
  return written;
}

async function explain<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    throw new ConfigError(`the intermediate cannot be made: ${error.message}; choose a shorter --ttl`, {
      cause: error,
    });
  }
}
