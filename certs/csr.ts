import { createPublicKey, sign, verify } from "node:crypto";
import { toPem } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { bitStringOctets, oidText, readChildren, readOnly, tag, take, writeDer } from "./der.js";
import { publicKeySpki, readPrivateKey, type KeyType } from "./keys.js";
import { readPublicKey, type PublicKey } from "./public-key.js";

/** An ECDSA request has 300 bytes; 16 KiB leaves room for any honest attribute. */
const maxRequestBytes = 16 * 1024;
/** Below this RSA is broken or nearly so; above, it is only not wanted. */
const minRsaBits = 2048;

/** AlgorithmIdentifier of ecdsa-with-SHA256, RFC 5758 §3.2: without parameters. */
const ecdsaWithSha256 = writeDer(tag.sequence, writeDer(tag.oid, Buffer.from("2a8648ce3d040302", "hex")));
const digests: ReadonlyMap<string, string> = new Map([
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
]);

/** What a CA takes from a request: the key, and nothing else. */
export interface SigningRequest {
  readonly publicKeySpki: Buffer;
  readonly keyType: KeyType;
}

/**
 * A PKCS#10 request (RFC 2986) for an ECDSA key, as PEM. It names nobody: the CA knows the caller.
 * @throws CertificateError("bad_key")
 */
export function createCsr(keyPem: string): string {
  const key = readPrivateKey(keyPem);
  const info = writeDer(
    tag.sequence,
    writeDer(tag.integer, Buffer.of(0)),
    writeDer(tag.sequence),
    publicKeySpki(key),
    writeDer(0xa0),
  );
  const signature = writeDer(tag.bitString, Buffer.of(0), sign("sha256", info, key));
  return toPem("CERTIFICATE REQUEST", writeDer(tag.sequence, info, ecdsaWithSha256, signature));
}

/**
 * The key of a request whose self-signature proves that the sender holds it. Every name, extension and lifetime in the
 * request is ignored by design: identity comes only from the authenticated caller (Consul CVE-2022-40716, SPIRE CVE-2021-27098).
 * @throws CertificateError "too_large", "bad_request", "bad_request_signature", "weak_key" or "unsupported_key".
 */
export function parseCsr(pem: string): SigningRequest {
  if (pem.length > maxRequestBytes) throw new CertificateError("too_large", `request of ${pem.length} bytes`);
  const base64 = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END /.exec(pem)?.[1];
  if (base64 === undefined) throw new CertificateError("bad_request", "no CERTIFICATE REQUEST block");
  const request = readRequest(Buffer.from(base64, "base64"));
  const keyType = keyTypeOf(request.publicKey);
  const digest = digests.get(request.signatureOid);
  if (digest === undefined) throw new CertificateError("bad_request", "signature algorithm not supported");
  if (!isSigned(request, digest)) throw new CertificateError("bad_request_signature");
  return { publicKeySpki: Buffer.from(request.publicKey.spkiDer), keyType };
}

type Request = ReturnType<typeof readRequest>;

function readRequest(der: Buffer) {
  try {
    const outer = readChildren(readOnly(der, tag.sequence));
    const info = take(outer, tag.sequence);
    const algorithm = readChildren(take(outer, tag.sequence));
    const signature = bitStringOctets(take(outer, tag.bitString));
    const fields = readChildren(info);
    take(fields, tag.integer);
    take(fields, tag.sequence);
    const publicKey = readPublicKey(take(fields, tag.sequence));
    return { signed: info.whole, publicKey, signatureOid: oidText(take(algorithm, tag.oid)), signature };
  } catch (error: unknown) {
    if (!(error instanceof CertificateError)) throw error;
    throw new CertificateError("bad_request", error.message, { cause: error });
  }
}

/** Before the signature: checking one with a hostile key can cost a long time (a 16-kbit RSA key, odd curves). */
function keyTypeOf({ type, spkiDer }: PublicKey): KeyType {
  if (type === "other") throw new CertificateError("unsupported_key");
  if (type !== "rsa") return type;
  // The modulus is nearly all of the key, so its size follows from the key's without trusting a parser with it.
  const isWeak = spkiDer.length < minRsaBits / 8;
  throw isWeak
    ? new CertificateError("weak_key", `RSA under ${minRsaBits} bits; use ECDSA P-256`)
    : new CertificateError("unsupported_key", "RSA; use ECDSA P-256");
}

function isSigned(request: Request, digest: string): boolean {
  try {
    const key = createPublicKey({ key: request.publicKey.spkiDer, format: "der", type: "spki" });
    return verify(digest, request.signed, key, request.signature);
  } catch {
    return false; // a point that is not on the curve, or a signature that is no DER
  }
}
