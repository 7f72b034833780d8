import { createCipheriv, createPrivateKey, pbkdf2, randomBytes, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { toPem } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { tag, writeDer } from "./der.js";
import { readPrivateKey } from "./keys.js";

const derive = promisify(pbkdf2);

/** OWASP's count for PBKDF2 with HMAC-SHA-256; a third of a second, at each start of a control plane. */
const iterations = 600_000;
const label = "ENCRYPTED PRIVATE KEY";

/** PBES2, PBKDF2, HMAC-SHA-256 (RFC 8018), AES-256-CBC (RFC 3565): content octets. */
const oids = {
  pbes2: "2a864886f70d01050d",
  pbkdf2: "2a864886f70d01050c",
  hmacSha256: "2a864886f70d0209",
  aes256Cbc: "60864801650304012a",
} as const;

/** Does the text hold a key that takes a passphrase? */
export function isEncryptedKey(keyPem: string): boolean {
  return keyPem.includes(`-----BEGIN ${label}-----`);
}

/**
 * The same key as PKCS#8 EncryptedPrivateKeyInfo (RFC 5958 §3), as `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes it, with
 * more rounds.
 * @throws CertificateError("bad_key")
 */
export async function encryptKeyPem(keyPem: string, passphrase: string): Promise<string> {
  const plain = readPrivateKey(keyPem).export({ type: "pkcs8", format: "der" });
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const key = await derive(passphrase, salt, iterations, 32, "sha256");
  const cipher = createCipheriv("aes-256-cbc", key, iv);
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  const count = Buffer.of(0, iterations >> 16, (iterations >> 8) & 0xff, iterations & 0xff);
  const derivation = sequence(
    writeDer(tag.octetString, salt),
    writeDer(tag.integer, (count[1] ?? 0) < 0x80 ? count.subarray(1) : count),
    sequence(oid(oids.hmacSha256), writeDer(0x05)),
  );
  const parameters = sequence(
    sequence(oid(oids.pbkdf2), derivation),
    sequence(oid(oids.aes256Cbc), writeDer(tag.octetString, iv)),
  );
  const info = sequence(sequence(oid(oids.pbes2), parameters), writeDer(tag.octetString, encrypted));
  return toPem(label, info);
}

/**
 * A private key that may be encrypted.
 * @throws CertificateError "key_encrypted" without a passphrase, "wrong_passphrase", or "bad_key"; never with any of the text.
 */
export function openKeyPem(keyPem: string, passphrase: string | undefined): KeyObject {
  if (!isEncryptedKey(keyPem)) return readPrivateKey(keyPem);
  if (!keyPem.includes(`-----END ${label}-----`)) throw new CertificateError("bad_key", "it is cut off");
  if (passphrase === undefined) throw new CertificateError("key_encrypted");
  try {
    return createPrivateKey({ key: keyPem, format: "pem", passphrase });
  } catch {
    // OpenSSL cannot tell a wrong passphrase from damage; the cause is left out since it could quote the key.
    throw new CertificateError("wrong_passphrase");
  }
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return writeDer(tag.sequence, ...parts);
}

function oid(hex: string): Buffer {
  return writeDer(tag.oid, Buffer.from(hex, "hex"));
}
