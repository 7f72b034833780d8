import { createHash } from "node:crypto";
import { CertificateError } from "./certificate-error.js";

/** 1 MiB holds over a thousand roots. */
const maxPemBytes = 1024 * 1024;
const block = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g;

/**
 * The certificates of a PEM text as DER, in order; text around them is allowed (RFC 7468 §2). Empty when there is none.
 * @throws CertificateError("too_large")
 */
export function splitPemCertificates(pem: string): Buffer[] {
  if (pem.length > maxPemBytes) throw new CertificateError("too_large", "PEM text over 1 MiB");
  return Array.from(pem.matchAll(block), ([, base64 = ""]) => Buffer.from(base64, "base64"));
}

/** The PEM text of one DER value, for example of label "CERTIFICATE"; ends with a newline. */
export function toPem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** SHA-256 of a certificate's DER, 64 lower-case hexadecimal digits: what `openssl x509 -fingerprint -sha256` shows. */
export function fingerprint(der: Buffer): string {
  return createHash("sha256").update(der).digest("hex");
}
