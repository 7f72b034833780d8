import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { RefusalReason } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { refusalOf, svidIdentity, svidIdentityOfDer, type SvidIdentity } from "../../certs/svid-rules.js";
import { anchorOf, type Anchoring, type Roots } from "../../certs/verify.js";
import { rootsOf, type MeshTrust } from "./mesh-trust.js";
import { presentedChain } from "./presented-chain.js";

/** Who is at the other end, or why nobody is let in. The reason labels a metric and is safe to log. */
export type PeerIdentity =
  { readonly ok: true; readonly id: string } | { readonly ok: false; readonly reason: RefusalReason };

/**
 * The SPIFFE id of a connected mesh peer, read from its DER certificate after the handshake. TLS has checked chain, time and
 * purpose; the rules of X509-SVID are checked here. About 40 us, once per connection. Fails closed: no certificate, a chain
 * that TLS did not accept, or a resumed session give no identity.
 */
export function peerIdentity(socket: TLSSocket): PeerIdentity {
  const identity = socketIdentity(socket);
  return identity.ok ? { ok: true, id: identity.id } : identity;
}

/** A peer whose certificate leads to a root of its own trust domain. */
export interface ProvenPeer {
  readonly ok: true;
  readonly id: string;
  readonly trustDomain: string;
  /** Of its leaf, as Svid.serial. */
  readonly serial: string;
  /** Of its leaf, Unix milliseconds. */
  readonly notAfterMs: number;
  /** Fingerprint of the root that its chain leads to. */
  readonly root: string;
}

export type PeerVerdict = ProvenPeer | { readonly ok: false; readonly reason: RefusalReason };

/**
 * Do we believe the peer and is it, unless `allowed` is undefined, one of exactly these ids? A dialler passes the ids of the
 * service it dialled: a valid certificate of another service must not do. TLS has checked chain, time and purpose against the
 * roots of all trust domains together; here the chain is checked against those of the peer's own domain only, as they are
 * now, since a root of one domain vouches for nobody of another.
 */
export function verifyPeer(
  socket: TLSSocket,
  allowed: readonly string[] | undefined,
  trust: MeshTrust,
): PeerVerdict {
  if (!socket.authorized) return { ok: false, reason: handshakeRefusal(undefined, socket) ?? "unauthorized" };
  if (socket.isSessionReused()) return { ok: false, reason: "resumed_session" };
  const der = peerDer(socket);
  if (der === undefined) return { ok: false, reason: "no_certificate" };
  try {
    const leaf = parseCertificate(der);
    const identity = svidIdentity(leaf);
    if (!identity.ok) return identity;
    const { id, trustDomain } = identity;
    const { serial, notAfterMs } = leaf;
    if (trust.revoked.has(serial)) return { ok: false, reason: "revoked" };
    const ready = rootsOf(trust, trustDomain);
    if (ready === undefined) return { ok: false, reason: "wrong_trust_domain" };
    // Whole text, never a pattern (Istio CVE-2026-39350).
    if (allowed !== undefined && !allowed.includes(id)) return { ok: false, reason: "wrong_identity" };
    const anchoring = anchorOfPeer(socket, der, ready.roots, trustDomain);
    return anchoring.ok ? { ok: true, id, trustDomain, serial, notAfterMs, root: anchoring.root } : anchoring;
  } catch (error: unknown) {
    return { ok: false, reason: refusalOf(error) };
  }
}

/** Mostly a root has signed the leaf itself; the rest of the chain is fetched only when not, since node makes objects of all. */
function anchorOfPeer(socket: TLSSocket, leaf: Buffer, roots: Roots, trustDomain: string): Anchoring {
  const direct = anchorOf([leaf], roots, trustDomain);
  // A root of the same name as the issuer makes it bad_signature.
  if (direct.ok || (direct.reason !== "unknown_issuer" && direct.reason !== "bad_signature")) return direct;
  return anchorOf(presentedChain(socket), roots, trustDomain);
}

/** SHA-256 of a connected peer's certificate in hexadecimal, as Envoy writes it; "" when there is none. */
export function peerHash(socket: TLSSocket): string {
  const der = peerDer(socket);
  return der === undefined ? "" : createHash("sha256").update(der).digest("hex");
}

/** Why a handshake failed, or what TLS has against the peer: from the error of "tlsClientError" or of a socket, or from the socket. */
export function handshakeRefusal(error: unknown, socket?: TLSSocket): RefusalReason | undefined {
  // With rejectUnauthorized a listener only ends the connection; the verdict then stands on the socket.
  const verdict: unknown = socket?.authorizationError;
  const code = (typeof verdict === "string" ? verdict : undefined) ?? (error as NodeJS.ErrnoException)?.code;
  return code === undefined ? undefined : refusalsByCode.get(code);
}

/** Verdicts of OpenSSL (X509_verify_cert_error_string) and alerts, as node names them. */
const refusalsByCode: ReadonlyMap<string, RefusalReason> = new Map([
  ["ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate"],
  ["CERT_HAS_EXPIRED", "expired"],
  ["CERT_NOT_YET_VALID", "not_yet_valid"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "self_signed"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "unknown_issuer"],
  ["UNABLE_TO_GET_ISSUER_CERT", "unknown_issuer"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "unknown_issuer"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unknown_issuer"],
  ["CERT_SIGNATURE_FAILURE", "bad_signature"],
  ["CERT_CHAIN_TOO_LONG", "chain_too_long"],
  ["PATH_LENGTH_EXCEEDED", "path_too_long"],
  ["INVALID_CA", "issuer_not_ca"],
  ["INVALID_PURPOSE", "wrong_extended_key_usage"],
]);

function socketIdentity(socket: TLSSocket): SvidIdentity {
  if (!socket.authorized) return { ok: false, reason: "unauthorized" };
  if (socket.isSessionReused()) return { ok: false, reason: "resumed_session" };
  const der = peerDer(socket);
  return der === undefined ? { ok: false, reason: "no_certificate" } : svidIdentityOfDer(der);
}

/**
 * Not getPeerX509Certificate, though it is cheaper: on a dialled socket node 20 takes the certificate out of the session
 * with it, and every later look finds none (X509Certificate::GetPeerCert, sk_X509_delete).
 */
export function peerDer(socket: TLSSocket): Buffer | undefined {
  // node gives {} when the peer sent none and null when the socket is gone; the typings say neither.
  const certificate = socket.getPeerCertificate(false) as { readonly raw?: Buffer } | null;
  return certificate?.raw;
}
