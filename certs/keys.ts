import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { CertificateError } from "./certificate-error.js";

const generate = promisify(generateKeyPair);

/** The kinds of keys that leaves may have, by the names that SPIRE gives them. */
export const keyTypes = ["ec-p256", "ec-p384"] as const;
export type KeyType = (typeof keyTypes)[number];

const curves: Readonly<Record<KeyType, string>> = { "ec-p256": "P-256", "ec-p384": "P-384" };

/** A new ECDSA private key as PKCS#8 PEM. Made on a worker thread: the event loop goes on. */
export async function generateKeyPem(type: KeyType = "ec-p256"): Promise<string> {
  const { privateKey } = await generate("ec", { namedCurve: curves[type] });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** @throws CertificateError("bad_key") without any of the text, which may be a damaged key. */
export function readPrivateKey(keyPem: string): KeyObject {
  try {
    return createPrivateKey(keyPem);
  } catch {
    // The cause is left out on purpose: it could quote the key.
    throw new CertificateError("bad_key");
  }
}

/** SubjectPublicKeyInfo of a private key's public half. */
export function publicKeySpki(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: "spki", format: "der" });
}
