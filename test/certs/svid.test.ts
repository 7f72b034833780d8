/** Reading and verifying: SPIFFE ids, certificates from hostile peers, chains. */
import { createPublicKey } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { splitPemCertificates } from "../../certs/bundle.js";
import { CertificateError, type RefusalReason } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { formatSpiffeId, parseSpiffeId } from "../../certs/spiffe-id.js";
import { svidIdentityOfDer } from "../../certs/svid-rules.js";
import { verifySvidChain } from "../../certs/verify.js";
import {
  clientAuthHex,
  dns,
  extension,
  makeCertificate,
  makeRoot,
  middayMs,
  sanExtension,
  serverAuthHex,
  uri,
  type CertificateShape,
} from "../support/make-certificate.js";

const web = "spiffe://remora.local/ns/default/svc/web";

/** The reason of a refusal; fails on any other outcome. */
function refusal(run: () => unknown): RefusalReason | "accepted" {
  try {
    run();
    return "accepted";
  } catch (error: unknown) {
    if (error instanceof CertificateError) return error.reason;
    throw error;
  }
}

t.test("reads a SPIFFE id and writes it back", async (t) => {
  t.same(parseSpiffeId(web), { trustDomain: "remora.local", namespace: "default", service: "web" });
  for (const text of [web, "spiffe://a_b-c.9/ns/n.1/svc/a-b_c.d", `spiffe://td/ns/a/svc/${"x".repeat(63)}`])
    t.equal(formatSpiffeId(parseSpiffeId(text)), text);
  t.equal(
    refusal(() => formatSpiffeId({ trustDomain: "td", namespace: "a", service: "b/svc/c" })),
    "not_a_service_id",
    "a name cannot smuggle path segments in",
  );
});

t.test("refuses what is no SPIFFE id of ours", async (t) => {
  const cases: readonly (readonly [string, RefusalReason])[] = [
    ["", "not_spiffe"],
    ["https://remora.local/ns/default/svc/web", "not_spiffe"],
    ["SPIFFE://remora.local/ns/default/svc/web", "not_spiffe"],
    [` ${web}`, "not_spiffe"],
    ["spiffe:/remora.local/ns/default/svc/web", "not_spiffe"],
    ["spiffe://", "bad_trust_domain"],
    ["spiffe:///ns/default/svc/web", "bad_trust_domain"],
    ["spiffe://Remora.local/ns/default/svc/web", "bad_trust_domain"],
    ["spiffe://remora.local:443/ns/default/svc/web", "bad_trust_domain"],
    ["spiffe://user@remora.local/ns/default/svc/web", "bad_trust_domain"],
    ["spiffe://remora%2elocal/ns/default/svc/web", "bad_trust_domain"],
    [`spiffe://${"a".repeat(256)}/ns/default/svc/web`, "bad_trust_domain"],
    ["spiffe://remora.local", "not_a_service_id"],
    ["spiffe://remora.local/", "bad_path"],
    [`${web}/`, "bad_path"],
    ["spiffe://remora.local/ns//svc/web", "bad_path"],
    ["spiffe://remora.local/ns/default/svc/../web", "bad_path"],
    ["spiffe://remora.local/ns/./svc/web", "bad_path"],
    ["spiffe://remora.local/ns/default/svc/we%62", "bad_path"],
    [`${web}?x=1`, "bad_path"],
    [`${web}#x`, "bad_path"],
    [`${web}\0`, "bad_path"],
    [`${web}\n`, "bad_path"],
    ["spiffe://remora.local/ns/default/svc/wéb", "bad_path"],
    [`${web}/extra`, "not_a_service_id"],
    ["spiffe://remora.local/ns/default/svc", "not_a_service_id"],
    ["spiffe://remora.local/ns/default/svc/Web", "not_a_service_id"],
    ["spiffe://remora.local/ns/default/svc/-web", "not_a_service_id"],
    ["spiffe://remora.local/sa/default/svc/web", "not_a_service_id"],
    [`spiffe://td/ns/a/svc/${"x".repeat(64)}`, "not_a_service_id"],
    [`spiffe://td/${"x".repeat(2048)}`, "spiffe_id_too_long"],
  ];
  for (const [text, reason] of cases)
    t.equal(
      refusal(() => parseSpiffeId(text)),
      reason,
      JSON.stringify(text.slice(0, 80)),
    );
});

const root = makeRoot();
const at = { nowMs: middayMs, trustDomain: "remora.local" };

function leaf(shape: CertificateShape = {}) {
  return makeCertificate({ issuer: root, subject: "web", names: [uri(web)], ...shape });
}

function verdict(chain: readonly { readonly der: Buffer }[], bundlePem = root.pem, when = at): string {
  const result = verifySvidChain(
    chain.map((link) => link.der),
    bundlePem,
    when,
  );
  return result.ok ? result.id : result.reason;
}

t.test("accepts a right leaf", async (t) => {
  t.equal(verdict([leaf()]), web);
  t.equal(verdict([leaf({ names: [dns("web.local"), uri(web), [0x87, Buffer.of(127, 0, 0, 1)]] })]), web);
  t.equal(verdict([leaf({ extendedKeyUsageHex: [] })]), web, "absent extended key usage is allowed");
  const unknownExtension = extension("2a030405", false, Buffer.of(5, 0));
  t.equal(verdict([leaf({ extraExtensions: [unknownExtension] })]), web, "not critical, not understood");
});

t.test("refuses each mistake of a leaf with its own reason", async (t) => {
  const other = "spiffe://remora.local/ns/default/svc/other";
  const nul = `${web}\0.evil`;
  const cases: readonly (readonly [string, CertificateShape, RefusalReason])[] = [
    ["no SAN", { names: [] }, "no_uri_san"],
    ["only DNS", { names: [dns("web")] }, "no_uri_san"],
    ["two URIs", { names: [uri(web), uri(other)] }, "several_uri_sans"],
    ["the same URI twice", { names: [uri(web), uri(web)] }, "several_uri_sans"],
    ["URI text inside a DNS name", { names: [dns(`x, URI:${web}`)] }, "no_uri_san"],
    ["DNS name that is the URI", { names: [dns(web)] }, "no_uri_san"],
    ["e-mail that is the URI", { names: [[0x81, web]] }, "no_uri_san"],
    ["otherName that holds the URI", { names: [[0xa0, Buffer.from(web, "utf16le")]] }, "no_uri_san"],
    ["constructed URI tag", { names: [[0xa6, web]] }, "no_uri_san"],
    ["NUL in the URI", { names: [uri(nul)] }, "bad_path"],
    ["quotes in the URI", { names: [uri(`"${web}"`)] }, "not_spiffe"],
    ["https URI", { names: [uri("https://remora.local/")] }, "not_spiffe"],
    ["trust domain only", { names: [uri("spiffe://remora.local")] }, "no_path"],
    ["trailing slash", { names: [uri(`${web}/`)] }, "bad_path"],
    ["percent-encoded", { names: [uri("spiffe://remora.local/ns/default/svc/we%62")] }, "bad_path"],
    ["upper-case domain", { names: [uri(web.replace("r", "R"))] }, "bad_trust_domain"],
    ["too long", { names: [uri(`spiffe://td/${"x".repeat(2048)}`)] }, "spiffe_id_too_long"],
    ["other trust domain", { names: [uri("spiffe://evil/ns/default/svc/web")] }, "wrong_trust_domain"],
    ["CA:TRUE", { isCa: true }, "leaf_is_ca"],
    ["keyCertSign", { keyUsageHex: "0284" }, "leaf_signs"],
    ["cRLSign", { keyUsageHex: "0182" }, "leaf_signs"],
    ["no digitalSignature", { keyUsageHex: "0520" }, "no_digital_signature"],
    ["no key usage", { keyUsageHex: "" }, "no_digital_signature"],
    ["only serverAuth", { extendedKeyUsageHex: [serverAuthHex] }, "wrong_extended_key_usage"],
    ["only clientAuth", { extendedKeyUsageHex: [clientAuthHex] }, "wrong_extended_key_usage"],
    [
      "critical unknown extension",
      { extraExtensions: [extension("2a030405", true, Buffer.of(5, 0))] },
      "unknown_critical_extension",
    ],
    ["two SAN extensions", { extraExtensions: [sanExtension([uri(other)])] }, "malformed"],
    ["expired", { notAfterMs: middayMs - 1000 }, "expired"],
    ["not yet valid", { notBeforeMs: middayMs + 1000 }, "not_yet_valid"],
    ["wrong signature", { isSignatureWrong: true }, "bad_signature"],
  ];
  for (const [what, shape, reason] of cases) t.equal(verdict([leaf(shape)]), reason, what);
});

t.test("refuses each mistake of a chain with its own reason", async (t) => {
  const self = makeCertificate({ names: [uri(web)] });
  t.equal(verdict([self]), "self_signed");
  t.equal(verdict([self, root]), "self_signed");
  const stranger = makeRoot({ subject: "stranger" });
  const strangers = makeCertificate({ issuer: stranger, names: [uri(web)] });
  t.equal(verdict([strangers]), "unknown_issuer");
  t.equal(verdict([strangers, stranger]), "unknown_issuer", "a root that the peer sends is not trusted");
  const twin = makeCertificate({ issuer: makeRoot(), names: [uri(web)] });
  t.equal(verdict([twin]), "bad_signature", "another root of the same name");
  t.equal(verdict([]), "no_certificate");
  t.equal(verdict(Array.from({ length: 9 }, () => leaf())), "chain_too_long");
  t.equal(verdict([leaf()], ""), "unknown_issuer");
  t.equal(verdict([leaf()], root.pem, { ...at, trustDomain: "else" }), "wrong_trust_domain");
  t.equal(
    verdict([leaf()], makeRoot({ subject: "x" }).pem + root.pem),
    web,
    "any root of the bundle will do",
  );
  const foreignRoot = makeRoot({ names: [uri("spiffe://federated")] });
  const stolen = makeCertificate({ issuer: foreignRoot, names: [uri(web)] });
  t.equal(
    verdict([stolen], foreignRoot.pem),
    "issuer_of_other_trust_domain",
    "a federated CA signs our domain",
  );
  const oldRoot = makeRoot({ notAfterMs: middayMs - 1 });
  t.equal(verdict([makeCertificate({ issuer: oldRoot, names: [uri(web)] })], oldRoot.pem), "expired");
});

t.test("walks intermediates and obeys their limits", async (t) => {
  const ca = { isCa: true, keyUsageHex: "0106", extendedKeyUsageHex: [] } as const;
  const first = makeCertificate({ ...ca, subject: "first", issuer: root });
  const second = makeCertificate({ ...ca, subject: "second", issuer: first });
  const below = (issuer: typeof first) => makeCertificate({ issuer, names: [uri(web)] });
  t.equal(verdict([below(first), first]), web);
  t.equal(verdict([below(second), first, second]), web, "in any order");
  t.equal(verdict([below(second), second]), "unknown_issuer");
  const leafAsCa = leaf();
  t.equal(verdict([below(leafAsCa), leafAsCa]), "issuer_not_ca", "a leaf signs another identity");
  const narrow = makeCertificate({ ...ca, subject: "narrow", issuer: root, pathLength: 0 });
  t.equal(verdict([below(narrow), narrow]), web);
  const tooDeep = makeCertificate({ ...ca, subject: "deep", issuer: narrow });
  t.equal(verdict([below(tooDeep), tooDeep, narrow]), "path_too_long");
  const expired = makeCertificate({ ...ca, subject: "old", issuer: root, notAfterMs: middayMs - 1 });
  t.equal(verdict([below(expired), expired]), "expired");
  const key = createPublicKey(first.key).export({ type: "spki", format: "der" });
  const offCurve = Buffer.from(first.der);
  offCurve.fill(0x11, offCurve.indexOf(key) + 30, offCurve.indexOf(key) + key.length);
  t.equal(
    verdict([below(first), { der: offCurve }]),
    "unknown_issuer",
    "an intermediate with a key off the curve",
  );
});

t.test("clock differences inside the validity do no harm", async (t) => {
  const fresh = leaf({ notBeforeMs: middayMs - 300_000, notAfterMs: middayMs + 86_400_000 });
  for (const skewMs of [-20_000, 20_000, -299_000, 3_600_000])
    t.equal(verdict([fresh], root.pem, { ...at, nowMs: middayMs + skewMs }), web, `${skewMs} ms`);
  t.equal(verdict([fresh], root.pem, { ...at, nowMs: middayMs - 3_600_000 }), "not_yet_valid");
});

t.test("random and damaged bytes give a CertificateError and nothing else", async (t) => {
  const good = leaf({ names: [uri(web), dns("x"), [0x87, Buffer.alloc(16, 1)]] }).der;
  const check = (bytes: Buffer): void => {
    const outcome = refusal(() => parseCertificate(bytes));
    if (outcome !== "accepted" && outcome !== "malformed" && outcome !== "too_large") t.fail(outcome);
    svidIdentityOfDer(bytes);
    verifySvidChain([bytes], root.pem, at);
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => check(Buffer.from(bytes))));
  const change = fc.tuple(fc.nat(good.length - 1), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = Buffer.from(good);
      for (const [index, octet] of changes) bytes[index] = octet;
      check(bytes);
    }),
    { numRuns: 3000 },
  );
  const isRefused = (length: number): boolean =>
    refusal(() => parseCertificate(good.subarray(0, length))) === "malformed";
  t.ok(
    Array.from(good.keys()).every((length) => isRefused(length)),
    "cut anywhere",
  );
  t.equal(
    refusal(() => parseCertificate(Buffer.concat([good, Buffer.of(0)]))),
    "malformed",
  );
  t.equal(
    refusal(() => parseCertificate(Buffer.alloc(1_000_000, 0x30))),
    "too_large",
  );
  t.same(splitPemCertificates("no certificate here"), []);
  t.same(
    svidIdentityOfDer(
      splitPemCertificates("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")[0] ?? good,
    ),
    {
      ok: false,
      reason: "malformed",
    },
  );
});
