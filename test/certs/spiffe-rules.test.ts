/** The rules of SPIFFE-ID and X509-SVID, section by section, each MUST with what holds and what breaks it. */
import t from "tap";
import { CertificateError, type RefusalReason } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { maxSpiffeIdBytes, splitSpiffeUri } from "../../certs/spiffe-id.js";
import { svidIdentity } from "../../certs/svid-rules.js";
import { verifySvidChain } from "../../certs/verify.js";
import {
  clientAuthHex,
  dns,
  extension,
  makeCertificate,
  makeRoot,
  middayMs,
  serverAuthHex,
  uri,
  type CertificateShape,
} from "../support/make-certificate.js";

const web = "spiffe://remora.local/ns/default/svc/web";

function idVerdict(text: string): string {
  try {
    splitSpiffeUri(text);
    return "accepted";
  } catch (error: unknown) {
    if (error instanceof CertificateError) return error.reason;
    throw error;
  }
}

const longestDomain = "a".repeat(255);
const longestPath = "x".repeat(maxSpiffeIdBytes - "spiffe://td/".length);

const ids: readonly (readonly [section: string, text: string, verdict: string])[] = [
  ["§2 scheme", "spiffe://td/a", "accepted"],
  ["§2 scheme: lower case", "Spiffe://td/a", "not_spiffe"],
  ["§2 scheme: no other", "https://td/a", "not_spiffe"],
  ["§2 no query", "spiffe://td/a?b=c", "bad_path"],
  ["§2 no query without a path", "spiffe://td?b=c", "bad_trust_domain"],
  ["§2 no fragment", "spiffe://td/a#b", "bad_path"],
  ["§2 no fragment without a path", "spiffe://td#b", "bad_trust_domain"],
  ["§2 trust domain is not empty", "spiffe:///a", "bad_trust_domain"],
  ["§2.1 letters, digits, dot, dash, underscore", "spiffe://a-z.0_9/a", "accepted"],
  ["§2.1 lower case", "spiffe://Td/a", "bad_trust_domain"],
  ["§2.1 no user", "spiffe://u@td/a", "bad_trust_domain"],
  ["§2.1 no port", "spiffe://td:1/a", "bad_trust_domain"],
  ["§2.1 no empty port", "spiffe://td:/a", "bad_trust_domain"],
  ["§2.1 no percent-encoding", "spiffe://t%64/a", "bad_trust_domain"],
  ["§2.1 no international name", "spiffe://tđ/a", "bad_trust_domain"],
  ["§2.1 no literal of IPv6", "spiffe://[::1]/a", "bad_trust_domain"],
  ["§2.2 any number of segments", "spiffe://td/a/B.9/c-d_e", "accepted"],
  ["§2.2 case is kept", "spiffe://td/A", "accepted"],
  ["§2.2 may be absent: the trust domain's own id", "spiffe://td", "accepted"],
  ["§2.2 no trailing slash", "spiffe://td/a/", "bad_path"],
  ["§2.2 no root path", "spiffe://td/", "bad_path"],
  ["§2.2 no empty segment", "spiffe://td/a//b", "bad_path"],
  ["§2.2 no dot segment", "spiffe://td/a/./b", "bad_path"],
  ["§2.2 no two dots", "spiffe://td/a/../b", "bad_path"],
  ["§2.2 three dots are a name", "spiffe://td/.../b", "accepted"],
  ["§2.2 no percent-encoding", "spiffe://td/%61", "bad_path"],
  ["§2.2 nothing else", "spiffe://td/a~b", "bad_path"],
  ["§2.2 no backslash", "spiffe://td/a\\b", "bad_path"],
  ["§2.2 no NUL", "spiffe://td/a\0", "bad_path"],
  ["§2.3 255 bytes of trust domain", `spiffe://${longestDomain}/a`, "accepted"],
  ["§2.3 256 bytes of trust domain", `spiffe://a${longestDomain}/a`, "bad_trust_domain"],
  ["§2.3 2048 bytes", `spiffe://td/${longestPath}`, "accepted"],
  ["§2.3 2049 bytes", `spiffe://td/x${longestPath}`, "spiffe_id_too_long"],
];

t.test("SPIFFE-ID", async (t) => {
  for (const [section, text, verdict] of ids) t.equal(idVerdict(text), verdict, section);
});

function leafVerdict(shape: CertificateShape): string {
  const leaf = makeCertificate({ names: [uri(web)], ...shape });
  const identity = svidIdentity(parseCertificate(leaf.der));
  return identity.ok ? identity.id : identity.reason;
}

const spire = "spiffe://spire.example/k8s/cluster-1/Web.v2";
/** digitalSignature with keyEncipherment and keyAgreement. */
const withKeyExchange = "03a8";

const leaves: readonly (readonly [section: string, shape: CertificateShape, verdict: string])[] = [
  ["§2 one URI SAN", {}, web],
  ["§2 with other SANs", { names: [dns("web"), uri(web), [0x87, Buffer.of(10, 0, 0, 1)]] }, web],
  ["§2 no URI SAN", { names: [dns("web")] }, "no_uri_san"],
  ["§2 two URI SANs", { names: [uri(web), uri("spiffe://remora.local/other")] }, "several_uri_sans"],
  ["§2 two URI SANs, one of another scheme", { names: [uri(web), uri("https://a/")] }, "several_uri_sans"],
  ["§3.1 any path", { names: [uri(spire)] }, spire],
  ["§3.1 non-root path", { names: [uri("spiffe://remora.local")] }, "no_path"],
  ["§3.1 non-root path, with a slash", { names: [uri("spiffe://remora.local/")] }, "bad_path"],
  ["§4.1 cA is false", { isCa: true }, "leaf_is_ca"],
  ["§4.3 keyEncipherment and keyAgreement may be set", { keyUsageHex: withKeyExchange }, web],
  ["§4.3 digitalSignature", { keyUsageHex: "0520" }, "no_digital_signature"],
  ["§4.3 key usage is there", { keyUsageHex: "" }, "no_digital_signature"],
  ["§4.3 no keyCertSign", { keyUsageHex: "0284" }, "leaf_signs"],
  ["§4.3 no cRLSign", { keyUsageHex: "0182" }, "leaf_signs"],
  ["§4.4 extended key usage may be absent", { extendedKeyUsageHex: [] }, web],
  ["§4.4 with others", { extendedKeyUsageHex: [serverAuthHex, clientAuthHex, "2b06010505070303"] }, web],
  ["§4.4 both directions", { extendedKeyUsageHex: [serverAuthHex] }, "wrong_extended_key_usage"],
  ["§4.4 both directions", { extendedKeyUsageHex: [clientAuthHex] }, "wrong_extended_key_usage"],
  ["§5.2 scheme", { names: [uri("https://remora.local/ns/default/svc/web")] }, "not_spiffe"],
];

t.test("X509-SVID: leaves", async (t) => {
  for (const [section, shape, verdict] of leaves) t.equal(leafVerdict(shape), verdict, section);
});

/** What a leaf of `web` is worth below an intermediate of this shape. */
function signerVerdict(shape: CertificateShape, trustDomain = "remora.local"): string {
  const root = makeRoot({ names: [] });
  const signer = makeCertificate({
    ...{ isCa: true, keyUsageHex: "0106", extendedKeyUsageHex: [], subject: "signer", issuer: root },
    names: [uri("spiffe://remora.local")],
    ...shape,
  });
  const leaf = makeCertificate({
    issuer: signer,
    names: [uri(`spiffe://${trustDomain}/ns/default/svc/web`)],
  });
  const verdict = verifySvidChain([leaf.der, signer.der], root.pem, { nowMs: middayMs, trustDomain });
  return verdict.ok ? verdict.id : verdict.reason;
}

const foreign: RefusalReason = "issuer_of_other_trust_domain";
const constraints = extension("551d1e", true, Buffer.from("3000", "hex"));
const signers: readonly (readonly [section: string, shape: CertificateShape, verdict: string])[] = [
  ["§3.2 the trust domain's id", {}, web],
  ["§3.2 need not be an SVID", { names: [] }, web],
  ["§3.2 other SANs", { names: [dns("ca"), uri("spiffe://remora.local")] }, web],
  ["§3.2 no path", { names: [uri("spiffe://remora.local/ca")] }, "issuer_has_path"],
  ["§3.2 its own trust domain", { names: [uri("spiffe://elsewhere")] }, foreign],
  [
    "§2 one URI SAN",
    { names: [uri("spiffe://remora.local"), uri("spiffe://remora.local")] },
    "several_uri_sans",
  ],
  ["§4.1 cA is true", { isCa: false }, "issuer_not_ca"],
  [
    "§4.2 name constraints are not understood",
    { extraExtensions: [constraints] },
    "unknown_critical_extension",
  ],
  ["§4.3 keyCertSign without cRLSign", { keyUsageHex: "0204" }, web],
  ["§4.3 no keyCertSign", { keyUsageHex: "0102" }, "issuer_not_ca"],
  ["§4.3 key usage is there", { keyUsageHex: "" }, "issuer_not_ca"],
];

t.test("X509-SVID: signing certificates", async (t) => {
  for (const [section, shape, verdict] of signers) t.equal(signerVerdict(shape), verdict, section);
  t.equal(signerVerdict({}, "elsewhere"), foreign, "§3.2 a CA signs for another trust domain");
});

t.test("X509-SVID §3.2: a signing certificate does not authenticate", async (t) => {
  const root = makeRoot();
  const verdict = verifySvidChain([root.der], root.pem, { nowMs: middayMs, trustDomain: "remora.local" });
  t.same(verdict, { ok: false, reason: "leaf_is_ca" });
});
