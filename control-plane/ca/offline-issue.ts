import path from "node:path";
import { createCsr } from "../../certs/csr.js";
import { generateKeyPem, type KeyType } from "../../certs/keys.js";
import { makeFolder, replaceFiles } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import { entryOf, openIssuanceLog } from "./issuance-log.js";
import { createIssuer, IssueError, type Issued } from "./issuer.js";
import { pkcs12Passphrase, writePkcs12File, type Pkcs12Files } from "./pkcs12-file.js";
import { loadSigningCa } from "./ca-store.js";

export interface IssuedFiles extends Issued {
  readonly keyFile: string;
  readonly certFile: string;
  readonly bundleFile: string;
}

export interface OfflineRequest {
  readonly caDir: string;
  readonly service: string;
  readonly namespace: string;
  /** Milliseconds, 2 s to 7 d; default 24 h. */
  readonly ttlMs?: number;
  /** Default ec-p256. */
  readonly keyType?: KeyType;
  /** Of the CA's key; undefined: it is not encrypted. */
  readonly passphrase?: string | undefined;
  /** Who asks, for the issuance log. */
  readonly user: string;
  readonly clock: Clock;
}

/**
 * `remora cert issue`: signs a leaf with the CA in `caDir`, without a control plane but into the same issuance log, and writes `<service>.key` (0600),
 * `<service>.crt` (the chain) and `bundle.pem` (the roots) into `outDir`. Existing files are replaced.
 * @throws ConfigError that names the fix.
 */
export async function issueFiles(
  options: OfflineRequest & { readonly outDir: string },
): Promise<IssuedFiles> {
  const { caDir, outDir, service } = options;
  // A service may be called "root": its files must not replace the CA's.
  if (path.resolve(outDir) === path.resolve(caDir))
    throw new ConfigError(`${outDir} is the CA's own folder: choose another one for the certificate`);
  const { keyPem, ...issued } = await issueOffline(options);
  const keyFile = path.join(outDir, `${service}.key`);
  const certFile = path.join(outDir, `${service}.crt`);
  const bundleFile = path.join(outDir, "bundle.pem");
  try {
    await makeFolder(outDir, 0o700);
    await replaceFiles([
      { file: keyFile, content: keyPem },
      { file: certFile, content: issued.certChainPem, mode: 0o644 },
      { file: bundleFile, content: issued.bundlePem, mode: 0o644 },
    ]);
  } catch (error: unknown) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(
      `cannot write to ${outDir} (${code}): choose a folder that this user may write to`,
      {
        cause: error,
      },
    );
  }
  return { ...issued, keyFile, certFile, bundleFile };
}

/** `remora cert issue --out web.p12`: the same in one PKCS#12 file, whose passphrase lies in another. @throws ConfigError */
export async function issuePkcs12(
  options: OfflineRequest & { readonly file: string; readonly passphraseFile: string | undefined },
): Promise<Issued & Pkcs12Files> {
  const { file, passphraseFile, service } = options;
  // Before a certificate is in the log that nobody gets.
  const passphrase = await pkcs12Passphrase(file, passphraseFile);
  const issued = await issueOffline(options);
  return { ...issued, ...(await writePkcs12File(file, service, issued, passphrase)) };
}

async function issueOffline({
  caDir,
  service,
  namespace,
  ttlMs,
  keyType,
  passphrase,
  user,
  clock,
}: OfflineRequest): Promise<Issued & { readonly keyPem: string }> {
  const ca = await loadSigningCa(caDir, passphrase);
  if (ca === undefined) throw new ConfigError(`${caDir} holds no CA: make one with remora ca init`);
  const issuer = createIssuer({ root: () => ca, clock, ...(ttlMs === undefined ? {} : { ttlMs }) });
  const keyPem = await generateKeyPem(keyType);
  const issued = signOrExplain(() => issuer.issue({ namespace, service }, createCsr(keyPem)));
  const proof = { by: "offline", proof: user, address: "" } as const;
  await openIssuanceLog(caDir, clock).append(entryOf(issued, proof, clock.wallMs()));
  return { ...issued, keyPem };
}

function signOrExplain(sign: () => Issued): Issued {
  try {
    return sign();
  } catch (error: unknown) {
    throw error instanceof IssueError ? new ConfigError(error.message, { cause: error }) : error;
  }
}
