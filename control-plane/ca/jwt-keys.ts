import type { KeyObject } from "node:crypto";
import { CertificateError } from "../../certs/certificate-error.js";
import { encryptKeyPem, isEncryptedKey, openKeyPem } from "../../certs/encrypted-key.js";
import { jwtKeyOf, type JwtKey } from "../../certs/jwk.js";
import { generateKeyPem, readPrivateKey } from "../../certs/keys.js";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import { damagedState } from "../state-file.js";
import { jwtKeyFileText, jwtKeyFix, readJwtKeyFile, type StoredJwtKey } from "./jwt-key-file.js";
import { planKeys, signingKey } from "./jwt-key-plan.js";
import { passphraseMistake } from "./root-store.js";

/** The keys that sign JWT-SVIDs, in the CA's folder, replaced in good time. */
export interface JwtKeys {
  /** Public halves of all that tokens in use may be signed with, and of the one that comes next. */
  readonly published: LatestValue<readonly JwtKey[]>;
  /** The key that signs now. */
  signer(): { readonly kid: string; readonly key: KeyObject };
  close(): void;
}

interface OwnKey extends StoredJwtKey {
  readonly key: KeyObject;
  readonly public: JwtKey;
}

/** Keys change every few days. */
const lookMs = 600_000;

export interface JwtKeyOptions {
  readonly file: string;
  /** Of the CA's key, and so of these; undefined: they are not encrypted. */
  readonly passphrase: string | undefined;
  readonly clock: Clock;
  /** A new key could not be written: the present one goes on, and it is tried again. */
  readonly onError: (error: unknown) => void;
}

/**
 * Opens the file of the keys, making it (0600) with a first key if needed.
 * @throws ConfigError when the file is damaged, others can read it, or the passphrase is wrong.
 */
export async function openJwtKeys(options: JwtKeyOptions): Promise<JwtKeys> {
  const { file, passphrase, clock, onError } = options;
  let keys = await advance(options, await readKeys(file, passphrase));
  const published = new LatestValue<readonly JwtKey[]>(keys.map((key) => key.public));
  let isClosed = false;
  let timer: Timer | undefined;
  const look = async (): Promise<void> => {
    try {
      const next = await advance(options, keys);
      if (next !== keys) {
        keys = next;
        published.set(keys.map((key) => key.public));
      }
    } catch (error: unknown) {
      onError(error);
    }
    wait();
  };
  const wait = (): void => {
    if (!isClosed) timer = clock.timer(lookMs, () => void look());
  };
  wait();
  return {
    published,
    signer() {
      const own = signingKey(keys, clock.wallMs());
      if (own === undefined) throw new Error("there is no key that signs JWT-SVIDs");
      return { kid: own.public.kid, key: own.key };
    },
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

/** The same array when nothing is to be done. On disk before it is in use: a restart must know what was published. */
async function advance(
  { file, passphrase, clock }: JwtKeyOptions,
  keys: readonly OwnKey[],
): Promise<readonly OwnKey[]> {
  const { keep, createActiveFromMs } = planKeys(keys, clock.wallMs());
  const created = createActiveFromMs === undefined ? [] : [await createKey(createActiveFromMs)];
  const planned = [...keep, ...created];
  const next =
    passphrase === undefined ? planned : await Promise.all(planned.map((key) => encrypted(key, passphrase)));
  if (next.length === keys.length && next.every((key, index) => key === keys[index])) return keys;
  await writeFileAtomic(file, jwtKeyFileText(next));
  return next;
}

async function createKey(activeFromMs: number): Promise<OwnKey> {
  const keyPem = await generateKeyPem();
  return ownKey({ keyPem, activeFromMs }, readPrivateKey(keyPem));
}

/** Keys from before the CA's key was encrypted are plain. */
async function encrypted(key: OwnKey, passphrase: string): Promise<OwnKey> {
  return isEncryptedKey(key.keyPem) ? key : { ...key, keyPem: await encryptKeyPem(key.keyPem, passphrase) };
}

function ownKey(stored: StoredJwtKey, key: KeyObject): OwnKey {
  return { ...stored, key, public: jwtKeyOf(key) };
}

async function readKeys(file: string, passphrase: string | undefined): Promise<readonly OwnKey[]> {
  const stored = await readJwtKeyFile(file);
  try {
    return stored.map((one) => ownKey(one, openKeyPem(one.keyPem, passphrase)));
  } catch (error: unknown) {
    const mistake = error instanceof CertificateError ? passphraseMistake(file, error) : undefined;
    throw mistake === undefined ? damagedState(file, jwtKeyFix) : new ConfigError(mistake);
  }
}
