import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { toPem } from "../../certs/bundle.js";
import { tag, writeDer } from "../../certs/der.js";

/** Certificates with any mistake one likes, which the CA refuses to make. */
export interface CertificateShape {
  readonly key?: KeyObject;
  /** SubjectPublicKeyInfo in place of the key's own. */
  readonly spki?: Buffer;
  readonly subject?: string;
  /** Default: signs itself. */
  readonly issuer?: Made;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  /** GeneralName tag and octets. */
  readonly names?: readonly (readonly [number, string | Buffer])[];
  readonly isCa?: boolean;
  readonly pathLength?: number;
  /** Content of the bit string, unused-bits octet first; "" leaves the extension out. Default digitalSignature. */
  readonly keyUsageHex?: string;
  /** Object identifiers as hexadecimal content octets. Default serverAuth and clientAuth. */
  readonly extendedKeyUsageHex?: readonly string[];
  readonly extraExtensions?: readonly Buffer[];
  /** Flips a bit of the signature. */
  readonly isSignatureWrong?: boolean;
}

export interface Made {
  readonly der: Buffer;
  readonly pem: string;
  readonly key: KeyObject;
  readonly keyPem: string;
  readonly subject: string;
}

export const serverAuthHex = "2b06010505070301";
export const clientAuthHex = "2b06010505070302";
/** Within every default validity below. */
export const middayMs = Date.UTC(2026, 0, 1, 12);
const hourMs = 3_600_000;

export function newKey(curve = "P-256"): KeyObject {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: curve });
  // A key as it comes from a file, not from the generator.
  return createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }));
}

export function uri(text: string): readonly [number, string] {
  return [0x86, text];
}

export function dns(text: string): readonly [number, string] {
  return [0x82, text];
}

export function makeCertificate(shape: CertificateShape = {}): Made {
  const key = shape.key ?? newKey();
  const subject = shape.subject ?? "leaf";
  const spki = shape.spki ?? createPublicKey(key).export({ type: "spki", format: "der" });
  const tbs = sequence(
    writeDer(0xa0, writeDer(tag.integer, Buffer.of(2))),
    writeDer(tag.integer, Buffer.of(0x5a, 0x01)),
    algorithm,
    name(shape.issuer?.subject ?? subject),
    sequence(time(shape.notBeforeMs ?? middayMs - hourMs), time(shape.notAfterMs ?? middayMs + 12 * hourMs)),
    name(subject),
    spki,
    writeDer(0xa3, sequence(...extensions(shape))),
  );
  const signature = sign("sha256", tbs, shape.issuer?.key ?? key);
  const last = signature.length - 1;
  if (shape.isSignatureWrong === true) signature[last] = (signature[last] ?? 0) ^ 1;
  const der = sequence(tbs, algorithm, writeDer(tag.bitString, Buffer.of(0), signature));
  const keyPem = key.export({ type: "pkcs8", format: "pem" }).toString();
  return { der, pem: toPem("CERTIFICATE", der), key, keyPem, subject };
}

/** A root as the CA makes it: `uri` names its trust domain. */
export function makeRoot(shape: CertificateShape = {}): Made {
  return makeCertificate({
    subject: "root",
    isCa: true,
    keyUsageHex: "0106",
    extendedKeyUsageHex: [],
    names: [uri("spiffe://remora.local")],
    ...shape,
  });
}

export function extension(oidHex: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [writeDer(tag.boolean, Buffer.of(0xff))] : [];
  return sequence(oid(oidHex), ...critical, writeDer(tag.octetString, value));
}

export function sanExtension(names: readonly (readonly [number, string | Buffer])[]): Buffer {
  const values = names.map(([type, value]) =>
    writeDer(type, typeof value === "string" ? Buffer.from(value, "latin1") : value),
  );
  return extension("551d11", false, sequence(...values));
}

function extensions(shape: CertificateShape): Buffer[] {
  const list: Buffer[] = [];
  const limit = shape.pathLength === undefined ? [] : [writeDer(tag.integer, Buffer.of(shape.pathLength))];
  const ca = shape.isCa === true ? [writeDer(tag.boolean, Buffer.of(0xff))] : [];
  list.push(extension("551d13", true, sequence(...ca, ...limit)));
  const usage = shape.keyUsageHex ?? "0780";
  if (usage !== "") list.push(extension("551d0f", true, writeDer(tag.bitString, Buffer.from(usage, "hex"))));
  const extended = shape.extendedKeyUsageHex ?? [serverAuthHex, clientAuthHex];
  if (extended.length > 0) list.push(extension("551d25", false, sequence(...extended.map(oid))));
  if (shape.names !== undefined && shape.names.length > 0) list.push(sanExtension(shape.names));
  return [...list, ...(shape.extraExtensions ?? [])];
}

export function sequence(...parts: readonly Buffer[]): Buffer {
  return writeDer(tag.sequence, ...parts);
}

function oid(hex: string): Buffer {
  return writeDer(tag.oid, Buffer.from(hex, "hex"));
}

const algorithm = sequence(oid("2a8648ce3d040302"));

function name(commonName: string): Buffer {
  return sequence(
    writeDer(tag.set, sequence(oid("550403"), writeDer(tag.utf8String, Buffer.from(commonName)))),
  );
}

function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14);
  return writeDer(tag.generalizedTime, Buffer.from(`${text}Z`));
}
