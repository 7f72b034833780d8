import path from "node:path";
import { CertificateError } from "../../certs/certificate-error.js";
import { makePrivateFolder, SecretFileError, writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../errors/config-error.js";
import { assembleSvid } from "./assemble-svid.js";
import { readSecretText } from "./secret-text.js";
import type { Svid } from "./svid.js";

/** One file, so that key, chain and bundle are always of the same rotation, also after a crash half way. */
const fileName = "svid.pem";
/** Text between PEM blocks is allowed (RFC 7468 §2), so openssl reads the file too. */
const bundleMark = "# trust bundle\n";
const keyBlock = /-----BEGIN PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END PRIVATE KEY-----\n?/;

/**
 * The identity that saveSvid stored in `stateDir`; undefined when there is none. It may have expired meanwhile: the caller
 * compares `notAfterMs`.
 * @throws ConfigError naming the file and what to do, when it is damaged or others can read it.
 */
export async function loadSvid(stateDir: string): Promise<Svid | undefined> {
  const file = path.join(stateDir, fileName);
  try {
    const text = await readSecretText(file);
    return text === undefined ? undefined : parseSvidFile(text);
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    const fix = "remove the file and start again with a new join token (remora token create)";
    throw new ConfigError(`${file} is damaged (${error.message}): ${fix}`, { cause: error });
  }
}

/** One of them is in every state folder that a sidecar has used. */
const marks = [fileName, "snapshot", "consul-registration.json"];

/** Makes a sidecar's folder (0700) if needed. @throws ConfigError it cannot be made, or is open to others and not a sidecar's. */
export async function makeStateFolder(stateDir: string): Promise<void> {
  try {
    await makePrivateFolder(stateDir, marks);
  } catch (cause: unknown) {
    const options = { cause, place: "--state-dir" };
    if (cause instanceof SecretFileError) throw new ConfigError(cause.message, options);
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new ConfigError(`cannot write to ${stateDir} (${code}): name a folder of your own`, options);
  }
}

/**
 * Stores the identity in `stateDir`, making the folder (0700) if needed; the file is 0600 and replaced as a whole.
 * @throws Error of node:fs, for example when the disk is full; the old file is then untouched.
 */
export async function saveSvid(stateDir: string, svid: Svid): Promise<void> {
  await makeStateFolder(stateDir);
  const text = `${svid.keyPem.trim()}\n${svid.certChainPem.trim()}\n${bundleMark}${svid.bundlePem.trim()}\n`;
  await writeFileAtomic(path.join(stateDir, fileName), text);
}

function parseSvidFile(text: string): Svid {
  const [own = "", bundlePem] = text.split(bundleMark);
  const keyPem = keyBlock.exec(own)?.[0];
  if (bundlePem === undefined || keyPem === undefined)
    throw new CertificateError("bad_key", "a part is missing");
  return assembleSvid({ certChainPem: own.replace(keyBlock, ""), keyPem, bundlePem });
}
