import { CertificateError } from "./certificate-error.js";
import { isTrue, malformed, oidText, readChildren, readOnly, tag, take, takeOptional } from "./der.js";
import type { DerValue } from "./der.js";
import { readSubjectAltNames, type SubjectAltName } from "./general-name.js";
import { readPublicKey, type PublicKey } from "./public-key.js";

/** What Remora needs of an X.509 certificate, read from its DER. Nothing here is verified. */
export interface Certificate {
  /** Hexadecimal, upper case, as `openssl x509 -serial` prints. */
  readonly serial: string;
  /** The first common name of the subject; only for people, never for decisions. */
  readonly subjectCommonName: string | undefined;
  /** The subject's Name as it is encoded: what certificates issued by it carry as issuer. */
  readonly subjectDer: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly subjectAltNames: readonly SubjectAltName[];
  readonly isCa: boolean;
  /** How many intermediates may follow this CA; undefined = no limit. */
  readonly pathLength: number | undefined;
  /** undefined when the extension is absent. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** Object identifiers; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectKeyId: Buffer | undefined;
  /** Whose key signed it, as that one's subjectKeyId. */
  readonly authorityKeyId: Buffer | undefined;
  /** Of a CA: the only hosts that URIs below it may have; undefined = any. */
  readonly permittedUriHosts: readonly string[] | undefined;
  /** Object identifiers of critical extensions that are not understood here: RFC 5280 §4.2 says to refuse then. */
  readonly unknownCritical: readonly string[];
  /** Subject and issuer are the same name. */
  readonly isSelfIssued: boolean;
  readonly publicKey: PublicKey;
  readonly der: Buffer;
}

/** RFC 5280 §4.2.1.3, in the order of the bits. */
const keyUsages = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
export type KeyUsage = (typeof keyUsages)[number];

/** Ours have 500 bytes; a leaf with an RSA-4096 chain has 2 KiB. */
export const maxCertificateBytes = 16 * 1024;

/**
 * Reads one certificate (RFC 5280 §4.1) in bounded time; the bytes may come from a hostile peer.
 * @throws CertificateError "malformed" or "too_large", and nothing else.
 */
export function parseCertificate(der: Buffer): Certificate {
  if (der.length > maxCertificateBytes) throw new CertificateError("too_large", `${der.length} bytes`);
  const outer = readChildren(readOnly(der, tag.sequence));
  const fields = readChildren(take(outer, tag.sequence));
  take(outer, tag.sequence);
  take(outer, tag.bitString);
  const version = readOnly(take(fields, 0xa0).body, tag.integer);
  if (version.body.length !== 1 || version.body[0] !== 2) malformed("not version 3");
  const serial = serialText(take(fields, tag.integer));
  take(fields, tag.sequence);
  const issuer = take(fields, tag.sequence);
  const validity = readChildren(take(fields, tag.sequence));
  const subject = take(fields, tag.sequence);
  const publicKey = readPublicKey(take(fields, tag.sequence));
  takeOptional(fields, 0x81);
  takeOptional(fields, 0x82);
  const extensions = takeOptional(fields, 0xa3);
  if (outer.length > 0 || fields.length > 0) malformed("fields after the last one");
  return {
    serial,
    subjectCommonName: commonName(subject),
    subjectDer: subject.whole,
    notBeforeMs: timeMs(validity[0]),
    notAfterMs: timeMs(validity[1]),
    ...readExtensions(extensions),
    isSelfIssued: issuer.whole.equals(subject.whole),
    publicKey,
    der,
  };
}

type Extensions = Pick<
  Certificate,
  | "subjectAltNames"
  | "isCa"
  | "pathLength"
  | "keyUsage"
  | "extendedKeyUsage"
  | "subjectKeyId"
  | "authorityKeyId"
  | "permittedUriHosts"
  | "unknownCritical"
>;

function readExtensions(wrapper: DerValue | undefined): Extensions {
  const found = new Map<string, Buffer>();
  const unknownCritical: string[] = [];
  const list = wrapper === undefined ? [] : readChildren(readOnly(wrapper.body, tag.sequence));
  for (const extension of list) {
    if (extension.tag !== tag.sequence) malformed("extension");
    const parts = readChildren(extension);
    const oid = oidText(take(parts, tag.oid));
    const critical = takeOptional(parts, tag.boolean);
    // RFC 5280 §4.2: at most one of each. With two SANs, two readers could see two identities.
    if (found.has(oid)) malformed(`extension ${oid} twice`);
    found.set(oid, take(parts, tag.octetString).body);
    if (critical !== undefined && isTrue(critical) && !understood.has(oid)) unknownCritical.push(oid);
  }
  const san = found.get("2.5.29.17");
  const usage = found.get("2.5.29.15");
  const keyId = found.get("2.5.29.14");
  const extendedUsage = found.get("2.5.29.37");
  const issuerKeyId = found.get("2.5.29.35");
  const names = found.get(nameConstraints);
  return {
    subjectAltNames: san === undefined ? [] : readSubjectAltNames(san),
    ...basicConstraints(found.get("2.5.29.19")),
    keyUsage: usage === undefined ? undefined : readKeyUsage(usage),
    extendedKeyUsage:
      extendedUsage === undefined
        ? undefined
        : readChildren(readOnly(extendedUsage, tag.sequence)).map(oidText),
    subjectKeyId: keyId === undefined ? undefined : readOnly(keyId, tag.octetString).body,
    authorityKeyId: issuerKeyId === undefined ? undefined : readAuthorityKeyId(issuerKeyId),
    permittedUriHosts: names === undefined ? undefined : readPermittedUriHosts(names),
    unknownCritical:
      names !== undefined && readPermittedUriHosts(names) === undefined
        ? [...unknownCritical, nameConstraints]
        : unknownCritical,
  };
}

const nameConstraints = "2.5.29.30";

/** The key identifier of RFC 5280 §4.2.1.1; the other form, issuer and serial, nobody of ours writes. */
function readAuthorityKeyId(bytes: Buffer): Buffer | undefined {
  const parts = readChildren(readOnly(bytes, tag.sequence));
  return takeOptional(parts, 0x80)?.body;
}

/** RFC 5280 §4.2.1.10; undefined when it says anything but permitted hosts of URIs: that is then not understood. */
function readPermittedUriHosts(bytes: Buffer): readonly string[] | undefined {
  const parts = readChildren(readOnly(bytes, tag.sequence));
  const permitted = takeOptional(parts, 0xa0);
  if (permitted === undefined || parts.length > 0) return undefined;
  const hosts: string[] = [];
  for (const subtree of readChildren(permitted)) {
    const [base, ...limits] = readChildren(subtree);
    if (base?.tag !== 0x86 || limits.length > 0) return undefined;
    hosts.push(base.body.toString("latin1"));
  }
  return hosts;
}

/** The extensions read above. Key identifiers and others are never critical. */
const understood: ReadonlySet<string> = new Set([
  "2.5.29.15",
  "2.5.29.17",
  "2.5.29.19",
  "2.5.29.37",
  nameConstraints,
]);

function basicConstraints(bytes: Buffer | undefined): Pick<Certificate, "isCa" | "pathLength"> {
  if (bytes === undefined) return { isCa: false, pathLength: undefined };
  const parts = readChildren(readOnly(bytes, tag.sequence));
  const ca = takeOptional(parts, tag.boolean);
  const limit = takeOptional(parts, tag.integer);
  if (parts.length > 0 || (limit !== undefined && limit.body.length !== 1)) malformed("basic constraints");
  return { isCa: ca !== undefined && isTrue(ca), pathLength: limit?.body[0] };
}

function readKeyUsage(bytes: Buffer): ReadonlySet<KeyUsage> {
  const bits = readOnly(bytes, tag.bitString).body.subarray(1);
  return new Set(keyUsages.filter((_, bit) => ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

/** RFC 5280 §4.1.2.2: positive, at most 20 octets (21 with the sign octet). */
function serialText(value: DerValue): string {
  const { body } = value;
  if (body.length === 0 || body.length > 21 || (body[0] ?? 0) >= 0x80) malformed("serial number");
  return (body.length > 1 && body[0] === 0 ? body.subarray(1) : body).toString("hex").toUpperCase();
}

/** RFC 5280 §4.1.2.5: always UTC, always with seconds; two-digit years turn at 1950. */
function timeMs(value: DerValue | undefined): number {
  const text = value?.body.toString("latin1") ?? "";
  const isShort = value?.tag === tag.utcTime && /^\d{12}Z$/.test(text);
  if (!isShort && !(value?.tag === tag.generalizedTime && /^\d{14}Z$/.test(text))) malformed("time");
  const full = isShort ? (Number(text.slice(0, 2)) < 50 ? "20" : "19") + text : text;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = [0, 4, 6, 8, 10, 12].map((at) =>
    Number(full.slice(at, at === 0 ? 4 : at + 2)),
  );
  const ms = Date.UTC(year, month - 1, day, hour, minute, second);
  // Date.UTC rolls the 31st of February over; a certificate must not.
  if (new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14) !== full.slice(0, 14)) malformed("time");
  return ms;
}

function commonName(name: DerValue): string | undefined {
  for (const relative of readChildren(name)) {
    for (const attribute of readChildren(relative)) {
      const parts = readChildren(attribute);
      if (oidText(take(parts, tag.oid)) !== "2.5.4.3") continue;
      const value = parts.shift() ?? malformed("empty common name");
      if (value.tag !== tag.bmpString) return value.body.toString("utf8");
      return Buffer.from(value.body.subarray(0, value.body.length & ~1))
        .swap16()
        .toString("utf16le");
    }
  }
  return undefined;
}
