import { createHash, randomBytes, sign, type KeyObject } from "node:crypto";
import asn1 from "node-forge/lib/asn1.js";
import type { asn1 as Asn1 } from "node-forge";
import type { Certificate } from "./certificate.js";
import { publicKeyOctets } from "./public-key.js";

/** What a certificate says, before it is signed. */
export interface Unsigned {
  readonly issuer: Asn1.Asn1;
  readonly subject: Asn1.Asn1;
  readonly spki: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Asn1.Asn1[];
}

const serverAndClientAuth = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"];
const ecdsaWithSha256 = "1.2.840.10045.4.3.2";

/** forge knows no elliptic curves: it writes the structure, node:crypto gives the key and signs (RFC 5280 §4.1). */
export function signCertificate(key: KeyObject, unsigned: Unsigned): { readonly der: Buffer } {
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

export function commonName(text: string): Asn1.Asn1 {
  const value = primitive(asn1.Type.UTF8, Buffer.from(text).toString("latin1"));
  const set = asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [sequence(objectId("2.5.4.3"), value)]);
  return sequence(set);
}

/** The name of a CA, as its own certificate has it. */
export function subjectOf(ca: Certificate): Asn1.Asn1 {
  return asn1.fromDer(ca.subjectDer.toString("latin1"));
}

/** @param pathLength how many CAs may follow; undefined = no limit. */
export function caConstraints(pathLength?: number): Asn1.Asn1 {
  const limit =
    pathLength === undefined ? [] : [primitive(asn1.Type.INTEGER, String.fromCharCode(pathLength))];
  return extension("2.5.29.19", true, sequence(primitive(asn1.Type.BOOLEAN, "\xff"), ...limit));
}

export const leafConstraints = (): Asn1.Asn1 => extension("2.5.29.19", true, sequence());
/** keyCertSign (bit 5), cRLSign (bit 6). */
export const caUsage = (): Asn1.Asn1 => extension("2.5.29.15", true, bitString("\x01\x06"));
/** digitalSignature (bit 0). */
export const leafUsage = (): Asn1.Asn1 => extension("2.5.29.15", true, bitString("\x07\x80"));
export const serverAndClient = (): Asn1.Asn1 =>
  extension("2.5.29.37", false, sequence(...serverAndClientAuth.map(objectId)));

export function subjectKeyId(spki: Buffer): Asn1.Asn1 {
  return extension("2.5.29.14", false, primitive(asn1.Type.OCTETSTRING, keyIdentifier(spki)));
}

/** As the CA itself says: a verifier compares the octets, whichever way they were made. */
export function authorityKeyId(ca: Certificate): Asn1.Asn1 {
  const id = ca.subjectKeyId?.toString("latin1") ?? keyIdentifier(ca.publicKey.spkiDer);
  return extension("2.5.29.35", false, sequence(contextual(0, id)));
}

export function uriName(uri: string): Asn1.Asn1 {
  return extension("2.5.29.17", false, sequence(contextual(6, uri)));
}

/** RFC 5280 §4.2.1.10: below this CA URIs may have this host only. */
export function permittedUriHost(host: string): Asn1.Asn1 {
  const permitted = asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0, true, [sequence(contextual(6, host))]);
  return extension("2.5.29.30", true, sequence(permitted));
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

/** RFC 5280 §4.2.1.2, method 1. */
function keyIdentifier(spki: Buffer): string {
  return createHash("sha1").update(publicKeyOctets(spki)).digest().toString("latin1");
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
