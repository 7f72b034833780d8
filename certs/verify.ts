import { X509Certificate } from "node:crypto";
import { fingerprint, splitPemCertificates } from "./bundle.js";
import { CertificateError, type RefusalReason } from "./certificate-error.js";
import { parseCertificate, type Certificate } from "./certificate.js";
import { splitSpiffeUri } from "./spiffe-id.js";
import { refusalOf, svidIdentity } from "./svid-rules.js";

export type Verification =
  { readonly ok: true; readonly id: string } | { readonly ok: false; readonly reason: RefusalReason };

/** A root, two intermediates and a leaf are usual; each further one costs the verifier a signature check. */
export const maxChainLength = 8;

/** The root that a chain leads to, by its fingerprint, or why it leads to none. */
export type Anchoring =
  { readonly ok: true; readonly root: string } | { readonly ok: false; readonly reason: RefusalReason };

/** One certificate as both readers see it: ours for the fields, OpenSSL's for signatures. */
interface Link {
  readonly fields: Certificate;
  readonly x509: X509Certificate;
}

/**
 * Verifies an X.509-SVID for uses without a TLS handshake (files, tests, gRPC): chain, time, CA rules and SPIFFE rules.
 * @param chainDer leaf first, then intermediates in any order; a root in it is not trusted for being there.
 * @param bundlePem the roots of `trustDomain` and of no other.
 */
export function verifySvidChain(
  chainDer: readonly Buffer[],
  bundlePem: string,
  options: { readonly nowMs: number; readonly trustDomain: string },
): Verification {
  if (chainDer.length === 0) return { ok: false, reason: "no_certificate" };
  if (chainDer.length > maxChainLength) return { ok: false, reason: "chain_too_long" };
  try {
    const [leaf, ...intermediates] = chainDer.map(readLink);
    const roots = readRoots(bundlePem);
    if (leaf === undefined) return { ok: false, reason: "no_certificate" };
    const identity = svidIdentity(leaf.fields);
    if (!identity.ok) return identity;
    if (identity.trustDomain !== options.trustDomain) return { ok: false, reason: "wrong_trust_domain" };
    const path = buildPath(leaf, intermediates, roots);
    if (typeof path === "string") return { ok: false, reason: path };
    const reason = pathMistake(path, options);
    return reason === undefined ? { ok: true, id: identity.id } : { ok: false, reason };
  } catch (error: unknown) {
    return { ok: false, reason: refusalOf(error) };
  }
}

/** Roots that were read once, for many chains. */
export type Roots = readonly Link[];

/** @throws CertificateError */
export function readRoots(bundlePem: string): Roots {
  return splitPemCertificates(bundlePem).map(readLink);
}

/**
 * Does the chain of a connected peer lead to one of these roots of `trustDomain`? Time and the leaf's own rules are not looked
 * at: TLS and svid-rules.ts have done that. Costs one signature check per certificate.
 */
export function anchorOf(chainDer: readonly Buffer[], roots: Roots, trustDomain: string): Anchoring {
  if (chainDer.length > maxChainLength) return { ok: false, reason: "chain_too_long" };
  try {
    const [leaf, ...intermediates] = chainDer.map(readLink);
    if (leaf === undefined) return { ok: false, reason: "no_certificate" };
    const path = buildPath(leaf, intermediates, roots);
    if (typeof path === "string") return { ok: false, reason: path };
    const reason = pathMistake(path, { nowMs: undefined, trustDomain });
    if (reason !== undefined) return { ok: false, reason };
    return { ok: true, root: fingerprint(path.at(-1)?.fields.der ?? Buffer.alloc(0)) };
  } catch (error: unknown) {
    return { ok: false, reason: refusalOf(error) };
  }
}

function readLink(der: Buffer): Link {
  const fields = parseCertificate(der);
  try {
    return { fields, x509: new X509Certificate(der) };
  } catch (error: unknown) {
    // OpenSSL is stricter in corners that our reader does not look at.
    throw new CertificateError("malformed", "OpenSSL cannot read it", { cause: error });
  }
}

/** From the leaf to a root of the bundle. Each step takes the first issuer that fits: no search that a peer could blow up. */
function buildPath(leaf: Link, intermediates: Link[], roots: readonly Link[]): Link[] | RefusalReason {
  const path = [leaf];
  const left = [...intermediates];
  for (let present = leaf; ;) {
    const root = roots.find((candidate) => isIssuer(candidate, present));
    if (root !== undefined) return [...path, root];
    const at = left.findIndex((candidate) => isIssuer(candidate, present));
    const next = at === -1 ? undefined : left.splice(at, 1)[0];
    if (next === undefined) return brokenAt(present, present === leaf, [...left, ...roots]);
    path.push(next);
    present = next;
  }
}

function isIssuer(candidate: Link, subject: Link): boolean {
  if (!subject.x509.checkIssued(candidate.x509)) return false;
  try {
    return subject.x509.verify(candidate.x509.publicKey);
  } catch {
    return false; // the peer's intermediate has a key that OpenSSL cannot use
  }
}

/** Why no issuer of `link` was found. */
function brokenAt(link: Link, isLeaf: boolean, candidates: readonly Link[]): RefusalReason {
  if (isLeaf && link.fields.isSelfIssued) return "self_signed";
  const named = candidates.filter((candidate) => candidate.x509.subject === link.x509.issuer);
  if (named.some((candidate) => !mayIssue(candidate.fields))) return "issuer_not_ca";
  return named.some((candidate) => link.x509.checkIssued(candidate.x509))
    ? "bad_signature"
    : "unknown_issuer";
}

function mayIssue(fields: Certificate): boolean {
  return fields.isCa && fields.keyUsage?.has("keyCertSign") !== false;
}

/** Checks a chain whose signatures are right (RFC 5280 §6.1, X509-SVID §3.1 and §5.2). `path` is leaf to root. */
function pathMistake(
  path: readonly Link[],
  /** `nowMs` undefined: somebody else looks at the time. */
  options: { readonly nowMs: number | undefined; readonly trustDomain: string },
): RefusalReason | undefined {
  for (const [depth, { fields }] of path.entries()) {
    if (options.nowMs !== undefined && options.nowMs < fields.notBeforeMs) return "not_yet_valid";
    if (options.nowMs !== undefined && options.nowMs > fields.notAfterMs) return "expired";
    if (depth === 0) continue;
    if (!mayIssue(fields)) return "issuer_not_ca";
    if (fields.unknownCritical.length > 0) return "unknown_critical_extension";
    if (fields.pathLength !== undefined && depth - 1 > fields.pathLength) return "path_too_long";
    // Hosts alone: the trust domain is the host of every URI that counts.
    if (fields.permittedUriHosts?.includes(options.trustDomain) === false)
      return "issuer_of_other_trust_domain";
    const mistake = signerMistake(fields, options.trustDomain);
    if (mistake !== undefined) return mistake;
  }
  return undefined;
}

/**
 * What X509-SVID §3.2 and §4.3 ask of a signing certificate that is itself an SVID: one id, of this trust domain, without a
 * path, and a key usage. One without an id may sign: it stands in the bundle of this trust domain, or below one that does.
 */
function signerMistake(fields: Certificate, trustDomain: string): RefusalReason | undefined {
  const uris = fields.subjectAltNames.filter(({ type }) => type === "uri");
  const [uri] = uris;
  if (uri === undefined) return undefined;
  const foreign = uris.some(({ value }) => splitSpiffeUri(value).trustDomain !== trustDomain);
  if (foreign) return "issuer_of_other_trust_domain";
  if (uris.length > 1) return "several_uri_sans";
  if (splitSpiffeUri(uri.value).path !== "") return "issuer_has_path";
  return fields.keyUsage === undefined ? "issuer_not_ca" : undefined;
}
