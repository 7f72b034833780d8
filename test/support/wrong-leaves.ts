/** Every way a peer's certificate can be wrong, each with the reason that must be told. Rows of test/integration/attackers.test.ts. */
import { generatePrimeSync, createPrivateKey, type KeyObject } from "node:crypto";
import { tag, writeDer } from "../../certs/der.js";
import {
  clientAuthHex,
  dns,
  extension,
  makeCertificate,
  makeRoot,
  newKey,
  sanExtension,
  sequence,
  serverAuthHex,
  uri,
  type CertificateShape,
  type Made,
} from "./make-certificate.js";

/** A certificate chain and the leaf's key, as an attacker presents them. */
export interface WrongLeaf {
  /** Begins with the row of the list of behaviours: `54 ...`. */
  readonly name: string;
  /** Label of the refusal's metric. */
  readonly reason: string;
  readonly cert: string;
  readonly key: string;
}

export interface LeafTable {
  /** Signs as the mesh's own CA does. */
  readonly root: Made;
  readonly trustDomain: string;
  /** Whom the attacker would like to be. */
  readonly service: string;
  readonly nowMs: number;
}

const hourMs = 3_600_000;

/** A leaf without any mistake: what every row below differs from in one thing. */
export function rightLeaf(
  { root, trustDomain, service, nowMs }: LeafTable,
  shape: CertificateShape = {},
): Made {
  return makeCertificate({
    issuer: root,
    subject: service,
    notBeforeMs: nowMs - hourMs,
    notAfterMs: nowMs + hourMs,
    names: [uri(`spiffe://${trustDomain}/ns/default/svc/${service}`)],
    ...shape,
  });
}

export function wrongLeaves(table: LeafTable): readonly WrongLeaf[] {
  return [...wrongSvids(table), ...wrongChains(table), ...sanTricks(table), ...pathological(table)];
}

type Row = readonly [name: string, reason: string, shape: CertificateShape];

const rowsOf = (table: LeafTable, row: number, rows: readonly Row[]): readonly WrongLeaf[] =>
  rows.map(([name, reason, shape]) => presented(`${row} ${name}`, reason, [rightLeaf(table, shape)]));

function presented(
  name: string,
  reason: string,
  chain: readonly Made[],
  key = chain[0]?.keyPem ?? "",
): WrongLeaf {
  return { name, reason, cert: chain.map(({ pem }) => pem).join(""), key };
}

/** Row 54: a right chain, and a leaf that is no SVID (X509-SVID §2, §4; SPIFFE-ID §2). */
function wrongSvids(table: LeafTable): readonly WrongLeaf[] {
  const { trustDomain, service } = table;
  const own = `spiffe://${trustDomain}/ns/default/svc/${service}`;
  const named = (text: string): CertificateShape => ({ names: [uri(text)] });
  return rowsOf(table, 54, [
    ["no SAN", "no_uri_san", { names: [] }],
    ["only a DNS SAN", "no_uri_san", { names: [dns(service)] }],
    ["two URI SANs, the first right", "several_uri_sans", { names: [uri(own), uri(`${own}2`)] }],
    ["two URI SANs, the last right", "several_uri_sans", { names: [uri("https://x/"), uri(own)] }],
    ["the same URI SAN twice", "several_uri_sans", { names: [uri(own), uri(own)] }],
    ["two SAN extensions", "unknown_issuer", { extraExtensions: [sanExtension([uri(own)])] }],
    ["URI of another scheme", "not_spiffe", named(own.replace("spiffe:", "https:"))],
    ["scheme in upper case", "not_spiffe", named(own.replace("spiffe:", "SPIFFE:"))],
    ["only a trust domain", "no_path", named(`spiffe://${trustDomain}`)],
    ["root path", "bad_path", named(`spiffe://${trustDomain}/`)],
    ["trailing slash", "bad_path", named(`${own}/`)],
    ["empty segment", "bad_path", named(own.replace("/svc", "//svc"))],
    ["dotted segment", "bad_path", named(own.replace("/svc", "/x/../svc"))],
    ["percent-encoding", "bad_path", named(own.replace(/.$/, "%62"))],
    ["query", "bad_path", named(`${own}?x`)],
    ["fragment", "bad_path", named(`${own}#x`)],
    [
      "trust domain in upper case",
      "bad_trust_domain",
      named(own.replace(trustDomain, trustDomain.toUpperCase())),
    ],
    ["port in the trust domain", "bad_trust_domain", named(own.replace(trustDomain, `${trustDomain}:1`))],
    ["user in the trust domain", "bad_trust_domain", named(own.replace(trustDomain, `a@${trustDomain}`))],
    ["no trust domain", "bad_trust_domain", named(own.replace(trustDomain, ""))],
    ["2049 bytes", "spiffe_id_too_long", named(own.padEnd(2049, "x"))],
    ["cA=true", "leaf_is_ca", { isCa: true }],
    ["keyCertSign", "leaf_signs", { keyUsageHex: "0284" }],
    ["cRLSign", "leaf_signs", { keyUsageHex: "0182" }],
    ["no digitalSignature", "wrong_extended_key_usage", { keyUsageHex: "0520" }],
    ["no key usage", "no_digital_signature", { keyUsageHex: "" }],
    ["usage for code signing", "wrong_extended_key_usage", { extendedKeyUsageHex: ["2b06010505070303"] }],
    ["usage for servers only", "wrong_extended_key_usage", { extendedKeyUsageHex: [serverAuthHex] }],
    ["usage for clients only", "wrong_extended_key_usage", { extendedKeyUsageHex: [clientAuthHex] }],
    [
      "critical extension that nobody knows",
      "handshake_failed",
      { extraExtensions: [extension("2a0304", true, sequence())] },
    ],
  ]);
}

/** Row 55: a right leaf, and a chain that does not make it ours. */
function wrongChains(table: LeafTable): readonly WrongLeaf[] {
  const { root, trustDomain, nowMs, service } = table;
  const life = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + hourMs };
  const foreignDomain = `other.${trustDomain}`;
  const stranger = makeRoot({ ...life, subject: root.subject, names: [uri(`spiffe://${trustDomain}`)] });
  const foreign = makeRoot({ ...life, subject: "foreign root", names: [uri(`spiffe://${foreignDomain}`)] });
  const intermediate = caBelow(root, life, `spiffe://${trustDomain}`);
  const plain = rightLeaf(table, { keyUsageHex: "0780" });
  const limited = caBelow(root, life, `spiffe://${trustDomain}`, { pathLength: 0, subject: "limited" });
  const below = caBelow(limited, life, `spiffe://${trustDomain}`, { subject: "below" });
  const other = `spiffe://${foreignDomain}/ns/default/svc/${service}`;
  return [
    ...rowsOf(table, 55, [
      ["right CA, another trust domain", "wrong_trust_domain", { names: [uri(other)] }],
      [
        "trust domain that ours is the end of",
        "wrong_trust_domain",
        { names: [uri(`spiffe://x${trustDomain}/ns/default/svc/${service}`)] },
      ],
      ["another CA of the same name", "bad_signature", { issuer: stranger }],
      ["another trust domain's CA that signs ours", "unknown_issuer", { issuer: foreign }],
      ["self-signed", "self_signed", { issuer: undefined as never }],
      ["expired", "expired", { notBeforeMs: nowMs - 2 * hourMs, notAfterMs: nowMs - 2000 }],
      ["not yet valid", "not_yet_valid", { notBeforeMs: nowMs + hourMs / 2, notAfterMs: nowMs + hourMs }],
      ["one bit of the signature changed", "bad_signature", { isSignatureWrong: true }],
    ]),
    presented("55 intermediate missing", "unknown_issuer", [rightLeaf(table, { issuer: intermediate })]),
    presented("55 the attacker's root in the chain", "unknown_issuer", [
      rightLeaf(table, { issuer: foreign }),
      foreign,
    ]),
    presented("55 a leaf as issuer", "handshake_failed", [
      rightLeaf(table, { issuer: plain, subject: "x" }),
      plain,
    ]),
    presented("55 expired intermediate", "expired", [
      ...signedBy(
        table,
        caBelow(
          root,
          { notBeforeMs: nowMs - 2 * hourMs, notAfterMs: nowMs - 2000 },
          `spiffe://${trustDomain}`,
        ),
      ),
    ]),
    presented("55 an intermediate of another trust domain", "issuer_of_other_trust_domain", [
      ...signedBy(table, caBelow(root, life, `spiffe://${foreignDomain}`)),
    ]),
    presented("55 longer than the CA's path length", "path_too_long", [
      rightLeaf(table, { issuer: below }),
      below,
      limited,
    ]),
  ];
}

/** Row 57: text in a name that a careless reader takes for a URI SAN of its own. */
function sanTricks(table: LeafTable): readonly WrongLeaf[] {
  const { trustDomain, service } = table;
  const own = `spiffe://${trustDomain}/ns/default/svc/${service}`;
  const bmp = Buffer.from(own, "utf16le").swap16();
  const other = sequence(
    writeDer(tag.oid, Buffer.from("2b060104018237140203", "hex")),
    writeDer(0xa0, writeDer(0x1e, bmp)),
  );
  const directory = sequence(
    writeDer(
      tag.set,
      sequence(writeDer(tag.oid, Buffer.from("550403", "hex")), writeDer(tag.utf8String, Buffer.from(own))),
    ),
  );
  return rowsOf(table, 57, [
    ["URI within a DNS name", "no_uri_san", { names: [dns(`x, URI:${own}`)] }],
    ["quoted URI within a DNS name", "no_uri_san", { names: [dns(`"x", URI:"${own}"`)] }],
    ["DNS name that is the URI", "no_uri_san", { names: [dns(own)] }],
    ["mail address that is the URI", "no_uri_san", { names: [[0x81, own]] }],
    ["otherName with the URI as BMPString", "no_uri_san", { names: [[0xa0, other.subarray(2)]] }],
    ["directory name that is the URI", "no_uri_san", { names: [[0xa4, directory]] }],
    ["registered id", "no_uri_san", { names: [[0x88, Buffer.from("2a0304", "hex")]] }],
    ["common name that is the URI", "no_uri_san", { names: [], subject: own }],
    ["NUL after the right URI", "bad_path", { names: [uri(`${own}\0.evil`)] }],
    ["two URIs in one", "bad_path", { names: [uri(`${own}, URI:${own}2`)] }],
    ["line end in the URI", "bad_path", { names: [uri(`${own}\n`)] }],
    ["constructed URI", "unknown_issuer", { names: [[0xa6, own]] }],
  ]);
}

/** Row 58: chains that cost a careless verifier seconds. */
function pathological(table: LeafTable): readonly WrongLeaf[] {
  const { trustDomain, nowMs } = table;
  const life = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + hourMs };
  const stranger = makeRoot({ ...life, subject: "stranger", names: [uri(`spiffe://${trustDomain}`)] });
  const rsa = rsaKey(16_384);
  const long = ladder(stranger, 100, life);
  const ours = ladder(table.root, 100, life);
  const policies = ladder(stranger, 24, life, policyBomb());
  const rsaLeaf = rightLeaf(table, { issuer: stranger, key: rsa });
  const odd = caBelow(stranger, life, "spiffe://x", { key: newKey("secp256k1") });
  return [
    presented("58 100 intermediates", "unknown_issuer", [
      rightLeaf(table, { issuer: long.at(-1) as Made }),
      ...[...long].reverse(),
    ]),
    presented("58 100 intermediates below the right root", "unknown_issuer", [
      rightLeaf(table, { issuer: ours.at(-1) as Made }),
      ...[...ours].reverse(),
    ]),
    presented("58 intermediates beyond what a handshake may hold", "handshake_failed", [
      rightLeaf(table, { issuer: stranger }),
      ...ladder(stranger, 400, life),
    ]),
    presented("58 RSA key of 16,384 bits", "unknown_issuer", [rsaLeaf]),
    presented("58 policies that branch in each intermediate", "unknown_issuer", [
      rightLeaf(table, { issuer: policies.at(-1) as Made }),
      ...[...policies].reverse(),
    ]),
    presented("58 issuer with a key on secp256k1", "unknown_issuer", signedBy(table, odd)),
    presented("58 two intermediates that sign each other", "unknown_issuer", circle(table)),
  ];
}

function caBelow(issuer: Made, life: CertificateShape, name: string, more: CertificateShape = {}): Made {
  const shape = { subject: "intermediate", isCa: true, keyUsageHex: "0106", extendedKeyUsageHex: [] };
  return makeCertificate({ ...life, ...shape, issuer, names: [uri(name)], ...more });
}

function signedBy(table: LeafTable, issuer: Made): readonly Made[] {
  return [rightLeaf(table, { issuer }), issuer];
}

/** CAs of which each is signed by the one before. One key for all: it is the signatures that cost. */
function ladder(
  top: Made,
  count: number,
  life: CertificateShape,
  extras: readonly Buffer[] = [],
): readonly Made[] {
  const key = newKey();
  const steps: Made[] = [];
  for (let step = 0; step < count; step++)
    steps.push(
      makeCertificate({
        ...life,
        key,
        subject: `step ${step}`,
        issuer: steps.at(-1) ?? top,
        isCa: true,
        keyUsageHex: "0106",
        extendedKeyUsageHex: [],
        extraExtensions: extras,
      }),
    );
  return steps;
}

function circle(table: LeafTable): readonly Made[] {
  const life = { notBeforeMs: table.nowMs - hourMs, notAfterMs: table.nowMs + hourMs };
  const [one, two] = [newKey(), newKey()];
  const ca = { ...life, isCa: true, keyUsageHex: "0106", extendedKeyUsageHex: [] };
  const seed = makeCertificate({ ...ca, subject: "two", key: two });
  const first = makeCertificate({ ...ca, subject: "one", key: one, issuer: seed });
  const second = makeCertificate({ ...ca, subject: "two", key: two, issuer: first });
  return [rightLeaf(table, { issuer: second }), second, first];
}

/** CVE-2023-0464: two policies, each mapped to both of the next step, double the tree with every certificate. */
function policyBomb(): readonly Buffer[] {
  const policy = (number: number): Buffer => writeDer(tag.oid, Buffer.from([0x2a, 0x03, number]));
  const all = [1, 2];
  const policies = sequence(...all.map((number) => sequence(policy(number))));
  const mappings = sequence(...all.flatMap((from) => all.map((to) => sequence(policy(from), policy(to)))));
  return [extension("551d20", false, policies), extension("551d21", false, mappings)];
}

/** CVE-2022-0778: a curve written out, over a field that is none, with a compressed point: the root of 696 modulo 697. */
export function endlessCurve(): Buffer {
  const number = (value: number): Buffer => writeDer(tag.integer, unsigned(BigInt(value)));
  const octets = (hex: string): Buffer => writeDer(tag.octetString, Buffer.from(hex, "hex"));
  const curve = sequence(
    number(1),
    sequence(writeDer(tag.oid, Buffer.from("2a8648ce3d0101", "hex")), number(697)),
    sequence(octets("0001"), octets("02b8")),
    octets("020000"),
    number(697),
    number(1),
  );
  const point = writeDer(tag.bitString, Buffer.from("00020000", "hex"));
  return sequence(sequence(writeDer(tag.oid, Buffer.from("2a8648ce3d0201", "hex")), curve), point);
}

/**
 * A key that works and is made in a second: its factors are products of small primes. Finding two primes of 8,192 bits
 * takes minutes, and nobody here needs the key to be safe.
 */
export function rsaKey(bits: number): KeyObject {
  const e = 65_537n;
  const half = (): { readonly product: bigint; readonly phi: bigint } => {
    let [product, phi] = [1n, 1n];
    for (let size = 0; size < bits / 2; size += 256) {
      const prime = generatePrimeSync(256, { bigint: true });
      product *= prime;
      phi *= prime - 1n;
    }
    return phi % e === 0n ? half() : { product, phi };
  };
  const [p, q] = [half(), half()];
  const d = inverse(e, p.phi * q.phi);
  const integers = [
    0n,
    p.product * q.product,
    e,
    d,
    p.product,
    q.product,
    d % p.phi,
    d % q.phi,
    inverse(q.product, p.product),
  ];
  const der = sequence(...integers.map((value) => writeDer(tag.integer, unsigned(value))));
  return createPrivateKey({ key: der, format: "der", type: "pkcs1" });
}

function unsigned(value: bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
}

/** Extended Euclid. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [oldR, r, oldS, s] = [value % modulus, modulus, 1n, 0n];
  while (r !== 0n) {
    const quotient = oldR / r;
    [oldR, r] = [r, oldR - quotient * r];
    [oldS, s] = [s, oldS - quotient * s];
  }
  return ((oldS % modulus) + modulus) % modulus;
}
