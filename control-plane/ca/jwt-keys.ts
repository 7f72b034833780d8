import type { KeyObject } from "node:crypto";
import { jwtKeyOf, type JwtKey } from "../../certs/jwk.js";
import { generateKeyPem, readPrivateKey } from "../../certs/keys.js";
import { writeFileAtomic } from "../../certs/secret-file.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import { planKeys, signingKey } from "./jwt-key-plan.js";

/** The keys that sign JWT-SVIDs, in the CA's folder, replaced in good time. */
export interface JwtKeys {
  /** Public halves of all that tokens in use may be signed with, and of the one that comes next. */
  readonly published: LatestValue<readonly JwtKey[]>;
  /** The key that signs now. */
  signer(): { readonly kid: string; readonly key: KeyObject };
  close(): void;
}

interface OwnKey {
  readonly keyPem: string;
  readonly activeFromMs: number;
  readonly key: KeyObject;
  readonly public: JwtKey;
}

/** Keys change every few days. */
const lookMs = 600_000;

/**
 * Opens the file of the keys, making it (0600) with a first key if needed.
 * @param onError a new key could not be written: the present one goes on, and it is tried again.
 * @throws ConfigError when the file is damaged or others can read it.
 */
export async function openJwtKeys(options: {
  readonly file: string;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
}): Promise<JwtKeys> {
  const { file, clock, onError } = options;
  let keys = await advance(file, await readKeys(file), clock.wallMs());
  const published = new LatestValue<readonly JwtKey[]>(keys.map((key) => key.public));
  let isClosed = false;
  let timer: Timer | undefined;
  const look = async (): Promise<void> => {
    try {
      const next = await advance(file, keys, clock.wallMs());
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
async function advance(file: string, keys: readonly OwnKey[], nowMs: number): Promise<readonly OwnKey[]> {
  const { keep, createActiveFromMs } = planKeys(keys, nowMs);
  if (keep.length === keys.length && createActiveFromMs === undefined) return keys;
  const created =
    createActiveFromMs === undefined ? [] : [ownKey(await generateKeyPem(), createActiveFromMs)];
  const next = [...keep, ...created];
  const stored = next.map(({ keyPem, activeFromMs }) => ({ keyPem, activeFromMs }));
  await writeFileAtomic(file, `${JSON.stringify({ keys: stored }, null, 1)}\n`);
  return next;
}

function ownKey(keyPem: string, activeFromMs: number): OwnKey {
  const key = readPrivateKey(keyPem);
  return { keyPem, activeFromMs, key, public: jwtKeyOf(key) };
}

async function readKeys(file: string): Promise<readonly OwnKey[]> {
  const text = await readSecretText(file);
  try {
    return text === undefined ? [] : parseKeys(text);
  } catch {
    // Without the cause, which could quote a key.
    throw new ConfigError(
      `${file} is damaged: restore it from a backup, or remove it; JWT-SVIDs in use are then refused until they are fetched anew`,
    );
  }
}

function parseKeys(text: string): readonly OwnKey[] {
  const { keys } = JSON.parse(text) as { readonly keys: readonly Partial<OwnKey>[] };
  return keys
    .map(({ keyPem, activeFromMs }) => {
      if (typeof keyPem !== "string" || typeof activeFromMs !== "number") throw new Error("not a key");
      return ownKey(keyPem, activeFromMs);
    })
    .sort((a, b) => a.activeFromMs - b.activeFromMs);
}
