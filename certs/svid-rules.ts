import { CertificateError, type RefusalReason } from "./certificate-error.js";
import { parseCertificate, type Certificate } from "./certificate.js";
import { splitSpiffeUri } from "./spiffe-id.js";

/** Who a certificate says it is, or why that does not count. */
export type SvidIdentity =
  | { readonly ok: true; readonly id: string; readonly trustDomain: string }
  | { readonly ok: false; readonly reason: RefusalReason };

const serverAuth = "1.3.6.1.5.5.7.3.1";
const clientAuth = "1.3.6.1.5.5.7.3.2";

/**
 * The identity of an X.509-SVID leaf by the rules of X509-SVID §2, §4 and §5.2. Neither chain nor time are looked at:
 * TLS has done that, or verify.ts does. The path may have any shape: other trust domains have their own, and identities
 * are compared as whole texts.
 */
export function svidIdentity(leaf: Certificate): SvidIdentity {
  const uris = leaf.subjectAltNames.filter((name) => name.type === "uri");
  const [uri] = uris;
  if (uri === undefined) return { ok: false, reason: "no_uri_san" };
  // "Validators encountering an SVID containing more than one URI SAN MUST reject" (§2): even if one matches.
  if (uris.length > 1) return { ok: false, reason: "several_uri_sans" };
  const misuse = leafMisuse(leaf);
  if (misuse !== undefined) return { ok: false, reason: misuse };
  try {
    const { trustDomain, path } = splitSpiffeUri(uri.value);
    // "MUST have a non-root path component" (§3.1): the trust domain itself is the name of its CA.
    return path === "" ? { ok: false, reason: "no_path" } : { ok: true, id: uri.value, trustDomain };
  } catch (error: unknown) {
    return { ok: false, reason: refusalOf(error) };
  }
}

/** The same from the leaf's DER, which may be anything: never throws. */
export function svidIdentityOfDer(der: Buffer): SvidIdentity {
  try {
    return svidIdentity(parseCertificate(der));
  } catch (error: unknown) {
    return { ok: false, reason: refusalOf(error) };
  }
}

/** X509-SVID §4.1, §4.3, §4.4. An absent extended key usage is allowed; one that is there must allow both directions. */
function leafMisuse(leaf: Certificate): RefusalReason | undefined {
  if (leaf.isCa) return "leaf_is_ca";
  if (leaf.keyUsage?.has("keyCertSign") === true || leaf.keyUsage?.has("cRLSign") === true)
    return "leaf_signs";
  if (leaf.keyUsage?.has("digitalSignature") !== true) return "no_digital_signature";
  const usage = leaf.extendedKeyUsage;
  if (usage !== undefined && !(usage.includes(serverAuth) && usage.includes(clientAuth)))
    return "wrong_extended_key_usage";
  return leaf.unknownCritical.length > 0 ? "unknown_critical_extension" : undefined;
}

/** The reason of a CertificateError; anything else is thrown on. */
export function refusalOf(error: unknown): RefusalReason {
  if (error instanceof CertificateError) return error.reason;
  throw error;
}
