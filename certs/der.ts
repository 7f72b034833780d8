import { CertificateError } from "./certificate-error.js";

/** One tag-length-value of DER (X.690 §8.1), inside the bytes that it was read from: nothing is copied. */
export interface DerValue {
  /** The identifier octet; only the low form, tags 0-30, which is all that X.509 uses. */
  readonly tag: number;
  /** The content octets. */
  readonly body: Buffer;
  /** Identifier, length and content. */
  readonly whole: Buffer;
}

/** Identifier octets. Context tags of X.509 are 0x80 + n (primitive) and 0xa0 + n (constructed). */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** No honest certificate or request has more values side by side. */
const maxChildren = 256;

/** Reads the value at the start of `bytes`. @throws CertificateError("malformed"): also for BER that is not DER. */
export function readDer(bytes: Buffer): DerValue {
  const identifier = bytes[0];
  const first = bytes[1];
  if (identifier === undefined || first === undefined) malformed("ends inside a header");
  if ((identifier & 0x1f) === 0x1f) malformed("tag over 30");
  let length = first;
  let headerBytes = 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    // 0 is BER's indefinite length; three octets already say 16 MiB.
    if (count === 0 || count > 3 || bytes.length < 2 + count) malformed("length not allowed");
    length = bytes.readUIntBE(2, count);
    headerBytes += count;
    // X.690 §10.1: the shortest form, else one certificate would have several encodings.
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) malformed("length not in its shortest form");
  }
  const end = headerBytes + length;
  if (end > bytes.length) malformed("ends inside a value");
  return { tag: identifier, body: bytes.subarray(headerBytes, end), whole: bytes.subarray(0, end) };
}

/** The one value that fills `bytes` exactly, of tag `expected`. @throws CertificateError("malformed") */
export function readOnly(bytes: Buffer, expected: number): DerValue {
  const value = readDer(bytes);
  if (value.tag !== expected) malformed(`tag ${value.tag} where ${expected} belongs`);
  if (value.whole.length !== bytes.length) malformed("bytes after the end");
  return value;
}

/** The values inside a constructed one, one level down. @throws CertificateError("malformed") */
export function readChildren(parent: DerValue): DerValue[] {
  const children: DerValue[] = [];
  let rest = parent.body;
  while (rest.length > 0) {
    if (children.length === maxChildren) malformed("too many values");
    const child = readDer(rest);
    children.push(child);
    rest = rest.subarray(child.whole.length);
  }
  return children;
}

/** Takes the next value, which must be there and of tag `expected`. @throws CertificateError("malformed") */
export function take(values: DerValue[], expected: number): DerValue {
  const value = values.shift();
  if (value?.tag !== expected) malformed(`tag ${value?.tag ?? "none"} where ${expected} belongs`);
  return value;
}

/** Takes the next value only if it has tag `expected`. */
export function takeOptional(values: DerValue[], expected: number): DerValue | undefined {
  return values[0]?.tag === expected ? values.shift() : undefined;
}

/** Dotted form of an OBJECT IDENTIFIER (X.690 §8.19). @throws CertificateError("malformed") */
export function oidText(value: DerValue): string {
  const { body } = value;
  if (value.tag !== tag.oid || body.length === 0 || body.length > 64) malformed("object identifier");
  const arcs: number[] = [];
  let arc = 0;
  for (const [at, octet] of body.entries()) {
    if (arc === 0 && octet === 0x80) malformed("object identifier not in its shortest form");
    arc = arc * 128 + (octet & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 128) malformed("object identifier too large");
    if ((octet & 0x80) !== 0) {
      if (at === body.length - 1) malformed("object identifier ends early");
      continue;
    }
    if (arcs.length === 0) {
      const root = Math.min(Math.floor(arc / 40), 2);
      arcs.push(root, arc - root * 40);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join(".");
}

/** The octets of a BIT STRING without unused bits. @throws CertificateError("malformed") */
export function bitStringOctets(value: DerValue): Buffer {
  if (value.tag !== tag.bitString || value.body[0] !== 0) malformed("bit string");
  return value.body.subarray(1);
}

/** X.690 §11.1: TRUE is 0xff, and FALSE is the default of X.509's booleans. @throws CertificateError("malformed") */
export function isTrue(value: DerValue): boolean {
  if (value.body.length !== 1 || (value.body[0] !== 0xff && value.body[0] !== 0)) malformed("boolean");
  return value.body[0] === 0xff;
}

/** Writes one value whose content is `parts` in a row. For the little a sidecar writes: loading node-forge costs 10 MB. */
export function writeDer(identifier: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  if (body.length < 0x80) return Buffer.concat([Buffer.of(identifier, body.length), body]);
  const count = body.length < 0x100 ? 1 : body.length < 0x10000 ? 2 : 3;
  const length = Buffer.alloc(count);
  length.writeUIntBE(body.length, 0, count);
  return Buffer.concat([Buffer.of(identifier, 0x80 | count), length, body]);
}

export function malformed(what: string): never {
  throw new CertificateError("malformed", what);
}
