import { createHash, randomBytes } from "node:crypto";
import { CertificateError } from "./certificate-error.js";

/**
 * What lets a sidecar join once: `rmr1.<256 random bits, base64url>.<fingerprint of the root CA, hex>`. The fingerprint lets
 * the sidecar know the control plane at the first contact, before it has a trust bundle.
 */
export interface JoinToken {
  /** Never logged. */
  readonly secret: string;
  /** SHA-256 of the root certificate's DER, 64 lower-case hexadecimal digits. */
  readonly rootFingerprint: string;
}

const pattern = /^rmr1\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/;

/** @throws CertificateError("bad_token") that quotes nothing of the text. White space around the token is allowed. */
export function parseJoinToken(text: string): JoinToken {
  // The length first: the text may be a wrong file of any size.
  const match = text.length > 256 ? null : pattern.exec(text.trim());
  if (match?.[1] === undefined || match[2] === undefined) throw new CertificateError("bad_token");
  return { secret: match[1], rootFingerprint: match[2] };
}

/** A new token for the CA with this fingerprint. */
export function newJoinToken(rootFingerprint: string): JoinToken & { readonly text: string } {
  const secret = randomBytes(32).toString("base64url");
  return { secret, rootFingerprint, text: `rmr1.${secret}.${rootFingerprint}` };
}

/** What is stored of a token. One round of SHA-256 is enough for 256 random bits: there is nothing to guess. */
export function joinTokenHash(token: Pick<JoinToken, "secret">): Buffer {
  return createHash("sha256").update(token.secret).digest();
}
