import { constants, sign, verify, type KeyObject } from "node:crypto";

/** A JWS in compact serialization (RFC 7515 §7.1), taken apart; nothing is verified. */
export interface Jws {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
  /** What the signature is of. */
  readonly signed: string;
  readonly signature: Buffer;
}

/** Ours have 400 bytes. */
const maxTokenBytes = 16 * 1024;
const part = /^[A-Za-z0-9_-]+$/;

interface Algorithm {
  readonly hash: string;
  readonly keyType: "ec" | "rsa";
  /** Of an EC key, as OpenSSL names it. */
  readonly curve?: string;
  readonly isPss?: boolean;
}

/** JWT-SVID §2.1: these nine. No `none`, and no HMAC that a public key could be the secret of. */
const algorithms: ReadonlyMap<string, Algorithm> = new Map([
  ["RS256", { hash: "sha256", keyType: "rsa" }],
  ["RS384", { hash: "sha384", keyType: "rsa" }],
  ["RS512", { hash: "sha512", keyType: "rsa" }],
  ["ES256", { hash: "sha256", keyType: "ec", curve: "prime256v1" }],
  ["ES384", { hash: "sha384", keyType: "ec", curve: "secp384r1" }],
  ["ES512", { hash: "sha512", keyType: "ec", curve: "secp521r1" }],
  ["PS256", { hash: "sha256", keyType: "rsa", isPss: true }],
  ["PS384", { hash: "sha384", keyType: "rsa", isPss: true }],
  ["PS512", { hash: "sha512", keyType: "rsa", isPss: true }],
]);

/** May a JWT-SVID be signed by `name`? */
export function isJwtSvidAlgorithm(name: unknown): name is string {
  return typeof name === "string" && algorithms.has(name);
}

/** Takes a token apart; undefined when it is none. Never throws. */
export function parseJws(token: string): Jws | undefined {
  if (token.length > maxTokenBytes) return undefined;
  const parts = token.split(".");
  const [head = "", body = "", signature = ""] = parts;
  if (parts.length !== 3 || !parts.every((text) => part.test(text))) return undefined;
  const [header, payload] = [readObject(head), readObject(body)];
  if (header === undefined || payload === undefined) return undefined;
  return { header, payload, signed: `${head}.${body}`, signature: Buffer.from(signature, "base64url") };
}

function readObject(base64: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(base64, "base64url"));
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

/** Is it signed by `key`, and by the very algorithm that its header names? False when the key is of another type. */
export function isSignedBy(jws: Jws, key: KeyObject): boolean {
  const algorithm = algorithms.get(String(jws.header["alg"]));
  if (algorithm === undefined || key.asymmetricKeyType !== algorithm.keyType) return false;
  if (algorithm.curve !== undefined && key.asymmetricKeyDetails?.namedCurve !== algorithm.curve) return false;
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const options = { key, dsaEncoding: "ieee-p1363", ...(algorithm.isPss === true ? pss : {}) } as const;
  try {
    return verify(algorithm.hash, Buffer.from(jws.signed), options, jws.signature);
  } catch {
    return false;
  }
}

/** Signs with ES256 (RFC 7518 §3.4). */
export function signJws(key: KeyObject, header: object, payload: object): string {
  const [head, body] = [header, payload].map((value) =>
    Buffer.from(JSON.stringify(value)).toString("base64url"),
  );
  const signed = `${head}.${body}`;
  const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}
