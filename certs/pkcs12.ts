import { createHash, createHmac, createPrivateKey, randomBytes } from "node:crypto";
import { splitPemCertificates } from "./bundle.js";
import { CertificateError } from "./certificate-error.js";
import { parseCertificate } from "./certificate.js";
import { tag, writeDer } from "./der.js";

/** What goes into a key store. */
export interface Pkcs12Parts {
  /** Alias of the key's entry. */
  readonly name: string;
  /** Leaf first, then intermediates. */
  readonly certChainPem: string;
  readonly keyPem: string;
  /** Roots; Java takes them as trusted entries `<name>-root`, `<name>-root-2` ... */
  readonly bundlePem: string;
  readonly passphrase: string;
}

/** Of the MAC. The key's own encryption takes node's default of 2048; a passphrase that we make has 192 bits. */
const macIterations = 100_000;

/**
 * A PKCS#12 file (RFC 7292) for Java, .NET and others: one key with its chain, and the roots. The key is encrypted with
 * AES-256-CBC and PBKDF2, the MAC is HMAC-SHA256: what OpenSSL 3, Java 8u301 and .NET 5 write by default too. Certificates are not secret
 * and not encrypted.
 * @throws CertificateError when a part is not what it should be.
 */
export function writePkcs12(parts: Pkcs12Parts): Buffer {
  const [leaf, ...rest] = splitPemCertificates(parts.certChainPem);
  if (leaf === undefined) throw new CertificateError("no_certificate");
  const roots = splitPemCertificates(parts.bundlePem);
  if (roots.length === 0) throw new CertificateError("bad_bundle");
  for (const der of [leaf, ...rest, ...roots]) parseCertificate(der);
  const keyId = createHash("sha1").update(leaf).digest();
  const own = [friendlyName(parts.name), attribute(oids.localKeyId, octets(keyId))];
  const bags = [
    certificateBag(leaf, own),
    ...rest.map((der) => certificateBag(der, [])),
    ...roots.map((der, index) =>
      certificateBag(der, [
        friendlyName(`${parts.name}-root${index === 0 ? "" : `-${index + 1}`}`),
        attribute(oids.javaTrusted, oid(oids.anyUsage)),
      ]),
    ),
  ];
  const keyBag = bag(oids.shroudedKeyBag, encryptedKey(parts), own);
  const safe = sequence(content(sequence(...bags)), content(sequence(keyBag)));
  return sequence(integer(3), content(safe), macOf(safe, parts.passphrase));
}

const oids = {
  data: "2a864886f70d010701",
  certBag: "2a864886f70d010c0a0103",
  shroudedKeyBag: "2a864886f70d010c0a0102",
  x509Certificate: "2a864886f70d01091601",
  friendlyName: "2a864886f70d010914",
  localKeyId: "2a864886f70d010915",
  sha256: "608648016503040201",
  /** 2.16.840.1.113894.746875.1.1, Oracle's: without it Java takes a certificate for part of a chain and nothing else. */
  javaTrusted: "6086480186f966adca7b0101",
  anyUsage: "551d2500",
};

/** EncryptedPrivateKeyInfo (RFC 5958): exactly what a key bag holds. */
function encryptedKey({ keyPem, passphrase }: Pkcs12Parts): Buffer {
  const cipher = { cipher: "aes-256-cbc", passphrase } as const;
  return createPrivateKey(keyPem).export({ type: "pkcs8", format: "der", ...cipher });
}

function certificateBag(der: Buffer, attributes: readonly Buffer[]): Buffer {
  return bag(oids.certBag, sequence(oid(oids.x509Certificate), explicit(octets(der))), attributes);
}

function bag(type: string, value: Buffer, attributes: readonly Buffer[]): Buffer {
  // DER sorts a SET.
  const sorted = [...attributes].sort((a, b) => Buffer.compare(a, b));
  const set = sorted.length === 0 ? [] : [writeDer(tag.set, ...sorted)];
  return sequence(oid(type), explicit(value), ...set);
}

function attribute(type: string, value: Buffer): Buffer {
  return sequence(oid(type), writeDer(tag.set, value));
}

function friendlyName(name: string): Buffer {
  return attribute(oids.friendlyName, writeDer(bmpString, bmp(name)));
}

function macOf(safe: Buffer, passphrase: string): Buffer {
  const salt = randomBytes(16);
  const key = derivedKey(passphrase, salt);
  const mac = createHmac("sha256", key).update(safe).digest();
  const info = sequence(sequence(oid(oids.sha256), writeDer(tag.null)), octets(mac));
  return sequence(info, octets(salt), integer(macIterations));
}

const macKeyId = 3;
const sha256Block = 64;

/** RFC 7292 appendix B.2 for a MAC key of one hash, so without its step 6. */
function derivedKey(passphrase: string, salt: Buffer): Buffer {
  const diversifier = Buffer.alloc(sha256Block, macKeyId);
  const password = filled(Buffer.concat([bmp(passphrase), Buffer.of(0, 0)]));
  let digest = Buffer.concat([diversifier, filled(salt), password]);
  for (let round = 0; round < macIterations; round++) digest = createHash("sha256").update(digest).digest();
  return digest;
}

/** Repeated up to whole blocks. */
function filled(bytes: Buffer): Buffer {
  return Buffer.alloc(Math.ceil(bytes.length / sha256Block) * sha256Block, bytes);
}

const bmpString = 0x1e;

/** UTF-16, big end first. */
function bmp(text: string): Buffer {
  return Buffer.from(text, "utf16le").swap16();
}

function content(safe: Buffer): Buffer {
  return sequence(oid(oids.data), explicit(octets(safe)));
}

function explicit(value: Buffer): Buffer {
  return writeDer(0xa0, value);
}

function sequence(...values: readonly Buffer[]): Buffer {
  return writeDer(tag.sequence, ...values);
}

function octets(bytes: Buffer): Buffer {
  return writeDer(tag.octetString, bytes);
}

function oid(hex: string): Buffer {
  return writeDer(tag.oid, Buffer.from(hex, "hex"));
}

function integer(value: number): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return writeDer(tag.integer, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}
