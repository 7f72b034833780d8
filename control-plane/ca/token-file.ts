import { writeFileAtomic } from "../../certs/secret-file.js";
import { isServiceName } from "../../certs/spiffe-id.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { readSecretText } from "../../src/identity/secret-text.js";

/** A join token at rest: only its hash, so that a copy of the file lets nobody in. */
export interface StoredToken {
  /** SHA-256 of the secret, hexadecimal. */
  readonly hash: string;
  readonly namespace: string;
  readonly service: string;
  /** Unix milliseconds. */
  readonly expiresAtMs: number;
  /** How often it can still be redeemed; 0 = used up, kept to say so until it expires. */
  readonly usesLeft: number;
  /** Made before certificates of its service were revoked: never good again, kept to say so until it expires. */
  readonly isVoid?: true;
}

/** Empty when there is no file yet. @throws ConfigError when it is damaged or readable by others. */
export async function readTokenFile(file: string): Promise<readonly StoredToken[]> {
  try {
    const text = await readSecretText(file);
    return text === undefined ? [] : parseTokens(text);
  } catch (error: unknown) {
    if (!(error instanceof SyntaxError)) throw error;
    const fix = "remove it and create new tokens; sidecars that have joined are not affected";
    throw new ConfigError(`${file} is damaged: ${fix}`, { cause: error });
  }
}

export async function writeTokenFile(file: string, tokens: Iterable<StoredToken>): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify({ version: 1, tokens: [...tokens] }, undefined, 1)}\n`);
}

function parseTokens(text: string): readonly StoredToken[] {
  const content = JSON.parse(text) as { readonly version?: unknown; readonly tokens?: unknown } | null;
  if (content?.version !== 1 || !Array.isArray(content.tokens)) throw new SyntaxError("no token file");
  return content.tokens.map((entry: Partial<StoredToken> | null) => {
    const { hash, namespace, service, expiresAtMs, usesLeft, isVoid } = entry ?? {};
    const isToken =
      typeof hash === "string" &&
      /^[0-9a-f]{64}$/.test(hash) &&
      typeof namespace === "string" &&
      isServiceName(namespace) &&
      typeof service === "string" &&
      isServiceName(service) &&
      Number.isSafeInteger(expiresAtMs) &&
      Number.isSafeInteger(usesLeft);
    if (!isToken) throw new SyntaxError("no token");
    const numbers = { expiresAtMs: Number(expiresAtMs), usesLeft: Number(usesLeft) };
    return { hash, namespace, service, ...numbers, ...(isVoid === true ? { isVoid } : {}) };
  });
}
