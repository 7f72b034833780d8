import { bitStringOctets, oidText, readChildren, readDer, tag, take, type DerValue } from "./der.js";
import { keyTypeOfCurve, type KeyType } from "./keys.js";

export interface PublicKey {
  /** Remora neither makes "rsa" and "other" nor accepts them in a request. */
  readonly type: KeyType | "rsa" | "other";
  /** SubjectPublicKeyInfo, RFC 5280 §4.1.2.7. */
  readonly spkiDer: Buffer;
}

const rsaEncryption = "1.2.840.113549.1.1.1";
const ecPublicKey = "1.2.840.10045.2.1";

/**
 * Which kind of key it is. Only named curves count: explicit curve parameters were the way of CVE-2022-0778.
 * @throws CertificateError("malformed")
 */
export function readPublicKey(spki: DerValue): PublicKey {
  const parts = readChildren(spki);
  const algorithm = readChildren(take(parts, tag.sequence));
  bitStringOctets(take(parts, tag.bitString));
  const oid = oidText(take(algorithm, tag.oid));
  const spkiDer = spki.whole;
  if (oid === rsaEncryption) return { type: "rsa", spkiDer };
  const curve = algorithm[0];
  if (oid !== ecPublicKey || curve?.tag !== tag.oid) return { type: "other", spkiDer };
  return { type: keyTypeOfCurve(oidText(curve)) ?? "other", spkiDer };
}

/** Octets of the key itself, without algorithm: what a key identifier is the hash of (RFC 5280 §4.2.1.2). */
export function publicKeyOctets(spkiDer: Buffer): Buffer {
  const parts = readChildren(readDer(spkiDer));
  take(parts, tag.sequence);
  return bitStringOctets(take(parts, tag.bitString));
}
