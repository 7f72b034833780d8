import { createHash, randomBytes, sign, type KeyObject } from "node:crypto";
import asn1 from "node-forge/lib/asn1.js";
import type { asn1 as Asn1 } from "node-forge";
import { splitPemCertificates, toPem } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { parseCertificate, type Certificate } from "./certificate.js";
import { publicKeyOctets } from "./public-key.js";
import { generateKeyPem, publicKeySpki, readPrivateKey } from "./keys.js";
import { formatSpiffeId, isTrustDomain, splitSpiffeUri, type SpiffeId } from "./spiffe-id.js";
import { backdateMs } from "./validity.js";

/** A CA that can sign. */
export interface Authority {
  readonly certPem: string;
  readonly certificate: Certificate;
  readonly trustDomain: string;
  readonly key: KeyObject;
}

export interface IssuedCertificate {
  readonly certPem: string;
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const dayMs = 86_400_000;
/** Ten years: replacing a root is work on every machine, and its key never leaves the control plane. */
const rootLifetimeMs = 3650 * dayMs;
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
    extensions: [
      extension("2.5.29.19", true, sequence(primitive(asn1.Type.BOOLEAN, "\xff"))),
      extension("2.5.29.15", true, bitString("\x01\x06")), // keyCertSign (bit 5), cRLSign (bit 6)
      extension("2.5.29.14", false, primitive(asn1.Type.OCTETSTRING, keyIdentifier(spki))),
      extension("2.5.29.17", false, sequence(contextual(6, `spiffe://${options.trustDomain}`))),
    ],
  });
  return { certPem: toPem("CERTIFICATE", der), keyPem };
}

/**
 * Puts a CA's certificate and key together.
 * @throws CertificateError when they do not belong together, or the certificate is no CA of one trust domain.
 */
export function loadAuthority(certPem: string, keyPem: string): Authority {
  const [der] = splitPemCertificates(certPem);
  if (der === undefined) throw new CertificateError("malformed", "no CERTIFICATE block");
  const certificate = parseCertificate(der);
  const key = readPrivateKey(keyPem);
  if (!publicKeySpki(key).equals(certificate.publicKey.spkiDer)) throw new CertificateError("key_mismatch");
  if (!certificate.isCa || certificate.keyUsage?.has("keyCertSign") === false)
    throw new CertificateError("issuer_not_ca");
  const uri = certificate.subjectAltNames.find((name) => name.type === "uri");
  if (uri === undefined) throw new CertificateError("no_uri_san", "a CA names its trust domain there");
  return { certPem, certificate, trustDomain: splitSpiffeUri(uri.value).trustDomain, key };
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
  if (request.nowMs >= certificate.notAfterMs) throw new CertificateError("expired", "the root CA itself");
  const uri = formatSpiffeId({ ...request.identity, trustDomain });
  const signed = signCertificate(authority.key, {
    issuer: asn1.fromDer(certificate.subjectDer.toString("latin1")),
    subject: commonName(request.identity.service),
    spki: request.publicKeySpki,
    notBeforeMs: Math.max(request.nowMs - backdateMs, certificate.notBeforeMs),
    notAfterMs: Math.min(Math.ceil((request.nowMs + request.ttlMs) / 1000) * 1000, certificate.notAfterMs),
    extensions: [
      extension("2.5.29.19", true, sequence()),
      extension("2.5.29.15", true, bitString("\x07\x80")), // digitalSignature (bit 0)
      extension("2.5.29.37", false, sequence(...serverAndClientAuth.map(objectId))),
      extension("2.5.29.14", false, primitive(asn1.Type.OCTETSTRING, keyIdentifier(request.publicKeySpki))),
      extension("2.5.29.35", false, sequence(contextual(0, authorityKeyId(certificate)))),
      extension("2.5.29.17", false, sequence(contextual(6, uri))),
    ],
  });
  const { serial, notBeforeMs, notAfterMs } = parseCertificate(signed.der);
  return { certPem: toPem("CERTIFICATE", signed.der), serial, notBeforeMs, notAfterMs };
}

const serverAndClientAuth = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"];
const ecdsaWithSha256 = "1.2.840.10045.4.3.2";

interface Unsigned {
  readonly issuer: Asn1.Asn1;
  readonly subject: Asn1.Asn1;
  readonly spki: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Asn1.Asn1[];
}

/** forge knows no elliptic curves: it writes the structure, node:crypto gives the key and signs (RFC 5280 §4.1). */
function signCertificate(key: KeyObject, unsigned: Unsigned): { readonly der: Buffer } {
  const algorithm = sequence(objectId(ecdsaWithSha256));
  const tbs = sequence(
    explicit(0, primitive(asn1.Type.INTEGER, "\x02")),
    primitive(asn1.Type.INTEGER, randomSerial()),
    algorithm,
    unsigned.issuer,
    sequence(time(unsigned.notBeforeMs), time(unsigned.notAfterMs)),
    unsigned.subject,
    asn1.fromDer(unsigned.spki.toString("latin1")),
    explicit(3, sequence(...unsigned.extensions)),
  );
  const signature = sign("sha256", toBuffer(tbs), key).toString("latin1");
  return { der: toBuffer(sequence(tbs, algorithm, bitString("\x00" + signature))) };
}

/** 128 random bits, positive and never zero (RFC 5280 §4.1.2.2; CA/B Forum asks for 64). */
function randomSerial(): string {
  const octets = randomBytes(16);
  octets[0] = ((octets[0] ?? 0) & 0x7f) | 0x40;
  return octets.toString("latin1");
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on. */
function time(ms: number): Asn1.Asn1 {
  const at = new Date(Math.floor(ms / 1000) * 1000);
  const isShort = at.getUTCFullYear() < 2050;
  const text = isShort ? asn1.dateToUtcTime(at) : asn1.dateToGeneralizedTime(at);
  const type = isShort ? asn1.Type.UTCTIME : asn1.Type.GENERALIZEDTIME;
  return primitive(type, text as unknown as string); // forge's typings say Date; it is the text
}

function commonName(text: string): Asn1.Asn1 {
  const value = primitive(asn1.Type.UTF8, Buffer.from(text).toString("latin1"));
  const set = asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [sequence(objectId("2.5.4.3"), value)]);
  return sequence(set);
}

/** RFC 5280 §4.2.1.2, method 1. */
function keyIdentifier(spki: Buffer): string {
  return createHash("sha1").update(publicKeyOctets(spki)).digest().toString("latin1");
}

/** As the CA itself says: a verifier compares the octets, whichever way they were made. */
function authorityKeyId(ca: Certificate): string {
  return ca.subjectKeyId?.toString("latin1") ?? keyIdentifier(ca.publicKey.spkiDer);
}

function extension(oid: string, isCritical: boolean, value: Asn1.Asn1): Asn1.Asn1 {
  const critical = isCritical ? [primitive(asn1.Type.BOOLEAN, "\xff")] : [];
  const octets = primitive(asn1.Type.OCTETSTRING, toBuffer(value).toString("latin1"));
  return sequence(objectId(oid), ...critical, octets);
}

function sequence(...values: Asn1.Asn1[]): Asn1.Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, values);
}

/** `octets`: one character per octet, forge's form of bytes. */
function primitive(type: Asn1.Type, octets: string): Asn1.Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, octets);
}

function bitString(octets: string): Asn1.Asn1 {
  return primitive(asn1.Type.BITSTRING, octets);
}

function contextual(number: number, octets: string): Asn1.Asn1 {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, number, false, octets);
}

function explicit(number: number, value: Asn1.Asn1): Asn1.Asn1 {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, number, true, [value]);
}

function objectId(oid: string): Asn1.Asn1 {
  return primitive(asn1.Type.OID, asn1.oidToDer(oid).getBytes());
}

function toBuffer(value: Asn1.Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), "latin1");
}
