import { isServiceName } from "../../certs/spiffe-id.js";
import { readStateFile, writeStateFile, type StateFields } from "../state-file.js";

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
  const fix = "remove it and create new tokens; sidecars that have joined are not affected";
  return (await readStateFile(file, { parse: parseTokens, fix })) ?? [];
}

export async function writeTokenFile(file: string, tokens: Iterable<StoredToken>): Promise<void> {
  await writeStateFile(file, { tokens: [...tokens] });
}

function parseTokens({ tokens }: StateFields): readonly StoredToken[] | undefined {
  return Array.isArray(tokens) && tokens.every(isToken) ? tokens : undefined;
}

function isToken(value: unknown): value is StoredToken {
  const { hash, namespace, service, expiresAtMs, usesLeft, isVoid }: Partial<StoredToken> = value ?? {};
  return (
    typeof hash === "string" &&
    /^[0-9a-f]{64}$/.test(hash) &&
    typeof namespace === "string" &&
    isServiceName(namespace) &&
    typeof service === "string" &&
    isServiceName(service) &&
    Number.isSafeInteger(expiresAtMs) &&
    Number.isSafeInteger(usesLeft) &&
    [undefined, true].includes(isVoid)
  );
}
