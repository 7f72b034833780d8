import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { CertificateError } from "./certificate-error.js";

const generate = promisify(generateKeyPair);

/** The kinds of keys that leaves may have, by the names that SPIRE gives them. */
export const keyTypes = ["ec-p256", "ec-p384"] as const;
export type KeyType = (typeof keyTypes)[number];

/** Names for node:crypto, and named curves in certificates (RFC 5480 §2.1.1.1). */
const curves: Readonly<Record<KeyType, { readonly name: string; readonly oid: string }>> = {
  "ec-p256": { name: "P-256", oid: "1.2.840.10045.3.1.7" },
  "ec-p384": { name: "P-384", oid: "1.3.132.0.34" },
};

/** The kind of an elliptic-curve key by the object identifier of its curve; undefined: leaves cannot have it. */
export function keyTypeOfCurve(oid: string): KeyType | undefined {
  return keyTypes.find((type) => curves[type].oid === oid);
}

/** A new ECDSA private key as PKCS#8 PEM. Made on a worker thread: the event loop goes on. */
export async function generateKeyPem(type: KeyType = "ec-p256"): Promise<string> {
  const { privateKey } = await generate("ec", { namedCurve: curves[type].name });
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
