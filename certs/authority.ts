import type { KeyObject } from "node:crypto";
import { fingerprint, splitPemCertificates, toPem } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { parseCertificate, type Certificate } from "./certificate.js";
import { generateKeyPem, publicKeySpki, readPrivateKey } from "./keys.js";
import {
  authorityKeyId,
  caConstraints,
  caUsage,
  commonName,
  leafConstraints,
  leafUsage,
  permittedUriHost,
  serverAndClient,
  signCertificate,
  subjectKeyId,
  subjectOf,
  uriName,
} from "./sign-certificate.js";
import { formatSpiffeId, isTrustDomain, splitSpiffeUri, type SpiffeId } from "./spiffe-id.js";
import { backdateMs } from "./validity.js";

/** A CA that can sign: a root, or an intermediate of one. */
export interface Authority {
  /** Of the certificate that signs. */
  readonly certPem: string;
  readonly certificate: Certificate;
  readonly trustDomain: string;
  readonly key: KeyObject;
  /** What peers trust; the same as certPem for a root. */
  readonly rootPem: string;
  /** Of the root, as certs' fingerprint() gives it. */
  readonly rootFingerprint: string;
  /** What stands in a chain between leaf and root: "" for a root. */
  readonly intermediatesPem: string;
}

export interface IssuedCertificate {
  readonly certPem: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const dayMs = 86_400_000;
/** Ten years: replacing a root is work, and an offline one never leaves its safe. */
const rootLifetimeMs = 3650 * dayMs;
/** A year: whoever steals an intermediate's key has it that long. */
export const defaultIntermediateLifetimeMs = 365 * dayMs;
/** SPIRE's and Istio's usual leaf; short enough that revocation is not needed. */
export const defaultLeafTtlMs = dayMs;
/** A leaf that lives longer than a week is a stolen leaf that lives longer than a week. */
export const maxLeafTtlMs = 7 * dayMs;

/**
 * A new root: ECDSA P-256, self-signed, `CN=Remora Root CA`, its URI SAN the trust domain (X509-SVID §3.1).
 * @returns both PEM texts; the caller owns the key and stores it 0600.
 * @throws CertificateError("bad_trust_domain")
 */
export async function createRootCa(options: {
  readonly trustDomain: string;
  readonly nowMs: number;
  /** Milliseconds; default ten years. */
  readonly lifetimeMs?: number;
}): Promise<{ readonly certPem: string; readonly keyPem: string }> {
  if (!isTrustDomain(options.trustDomain)) throw new CertificateError("bad_trust_domain");
  const keyPem = await generateKeyPem();
  const key = readPrivateKey(keyPem);
  const spki = publicKeySpki(key);
  const name = commonName("Remora Root CA");
  const { der } = signCertificate(key, {
    issuer: name,
    subject: name,
    spki,
    notBeforeMs: options.nowMs - backdateMs,
    notAfterMs: options.nowMs + (options.lifetimeMs ?? rootLifetimeMs),
    extensions: [caConstraints(), caUsage(), subjectKeyId(spki), uriName(`spiffe://${options.trustDomain}`)],
  });
  return { certPem: toPem("CERTIFICATE", der), keyPem };
}

/**
 * A new intermediate of `root`: ECDSA P-256, no CA below it, and no identity outside of its trust domain (name constraint).
 * @returns both PEM texts; the caller owns the key and stores it 0600.
 * @throws CertificateError "expired" when it would live longer than the root, or cannot live at all.
 */
export async function createIntermediateCa(
  root: Authority,
  options: { readonly nowMs: number; readonly lifetimeMs: number },
): Promise<{ readonly certPem: string; readonly keyPem: string }> {
  const { certificate, trustDomain } = root;
  const notAfterMs = options.nowMs + options.lifetimeMs;
  if (notAfterMs >= certificate.notAfterMs) {
    const end = new Date(certificate.notAfterMs).toISOString();
    throw new CertificateError("expired", `the root ends at ${end}, before the intermediate would`);
  }
  const keyPem = await generateKeyPem();
  const spki = publicKeySpki(readPrivateKey(keyPem));
  const { der } = signCertificate(root.key, {
    issuer: subjectOf(certificate),
    subject: commonName("Remora Intermediate CA"),
    spki,
    notBeforeMs: Math.max(options.nowMs - backdateMs, certificate.notBeforeMs),
    notAfterMs,
    extensions: [
      caConstraints(0),
      caUsage(),
      subjectKeyId(spki),
      authorityKeyId(certificate),
      uriName(`spiffe://${trustDomain}`),
      permittedUriHost(trustDomain),
    ],
  });
  return { certPem: toPem("CERTIFICATE", der), keyPem };
}

/**
 * Puts a CA's certificate and key together.
 * @param rootPem the root that the certificate is an intermediate of; undefined: it is the root.
 * @throws CertificateError when they do not belong together, or the certificate is no CA of one trust domain.
 */
export function loadAuthority(certPem: string, key: string | KeyObject, rootPem = certPem): Authority {
  const certificate = readCa(certPem);
  const root = rootPem === certPem ? certificate : readCa(rootPem);
  const keyObject = typeof key === "string" ? readPrivateKey(key) : key;
  if (!publicKeySpki(keyObject).equals(certificate.publicKey.spkiDer))
    throw new CertificateError("key_mismatch");
  const trustDomain = trustDomainOf(certificate);
  if (trustDomainOf(root) !== trustDomain) throw new CertificateError("issuer_of_other_trust_domain");
  return {
    certPem,
    certificate,
    trustDomain,
    key: keyObject,
    rootPem,
    rootFingerprint: fingerprint(root.der),
    intermediatesPem: rootPem === certPem ? "" : certPem,
  };
}

function readCa(certPem: string): Certificate {
  const [der] = splitPemCertificates(certPem);
  if (der === undefined) throw new CertificateError("malformed", "no CERTIFICATE block");
  const certificate = parseCertificate(der);
  if (!certificate.isCa || certificate.keyUsage?.has("keyCertSign") === false)
    throw new CertificateError("issuer_not_ca");
  return certificate;
}

function trustDomainOf(ca: Certificate): string {
  const uri = ca.subjectAltNames.find((name) => name.type === "uri");
  if (uri === undefined) throw new CertificateError("no_uri_san", "a CA names its trust domain there");
  return splitSpiffeUri(uri.value).trustDomain;
}

/**
 * Signs an X.509-SVID leaf for `identity` and the key `publicKeySpki`. Whole seconds: NotBefore is rounded down, NotAfter up
 * but never past the CA's. `ttlMs` counts from now; NotBefore lies five minutes back for clocks that are behind.
 * @throws CertificateError "expired" when the CA is, or a SPIFFE id reason.
 */
export function issueLeaf(
  authority: Authority,
  request: {
    readonly identity: Pick<SpiffeId, "namespace" | "service">;
    readonly publicKeySpki: Buffer;
    readonly nowMs: number;
    readonly ttlMs: number;
  },
): IssuedCertificate {
  const { certificate, trustDomain } = authority;
  const { publicKeySpki: spki, nowMs, ttlMs } = request;
  if (nowMs >= certificate.notAfterMs) throw new CertificateError("expired", "the CA itself");
  const uri = formatSpiffeId({ ...request.identity, trustDomain });
  const signed = signCertificate(authority.key, {
    issuer: subjectOf(certificate),
    subject: commonName(request.identity.service),
    spki,
    notBeforeMs: Math.max(nowMs - backdateMs, certificate.notBeforeMs),
    notAfterMs: Math.min(Math.ceil((nowMs + ttlMs) / 1000) * 1000, certificate.notAfterMs),
    extensions: [
      leafConstraints(),
      leafUsage(),
      serverAndClient(),
      subjectKeyId(spki),
      authorityKeyId(certificate),
      uriName(uri),
    ],
  });
  const { serial, notBeforeMs, notAfterMs } = parseCertificate(signed.der);
  return { certPem: toPem("CERTIFICATE", signed.der), serial, notBeforeMs, notAfterMs };
}
