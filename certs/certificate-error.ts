/**
 * Every reason for which a certificate, key, signing request or join token is refused. The codes are stable: they label
 * metrics and stand in logs; the texts are for people.
 */
export const refusalTexts = {
  no_certificate: "the peer presented no certificate",
  resumed_session: "the TLS session was resumed, so its certificate was not checked anew",
  unauthorized: "TLS did not accept the certificate chain",
  malformed: "the certificate is not valid DER or not a v3 certificate",
  too_large: "the input is larger than any honest one",
  chain_too_long: "the chain has more certificates than allowed",
  no_uri_san: "the certificate has no URI subject alternative name, so it carries no SPIFFE id",
  several_uri_sans: "the certificate has several URI subject alternative names; an SVID has exactly one",
  not_spiffe: "the URI is not a spiffe:// URI",
  spiffe_id_too_long: "the SPIFFE id is longer than 2048 bytes",
  bad_trust_domain: "the trust domain has a character other than a-z 0-9 . - _",
  bad_path:
    "the path of the SPIFFE id is empty, ends with a slash, or has an empty, dotted or escaped segment",
  no_path: "the SPIFFE id of a leaf needs a path; the trust domain alone is the name of its CA",
  not_a_service_id: "the SPIFFE id is not of the form spiffe://<trust-domain>/ns/<namespace>/svc/<service>",
  leaf_is_ca: "the leaf is marked as a CA",
  leaf_signs: "the leaf may sign certificates or revocation lists",
  no_digital_signature: "the leaf's key usage lacks digitalSignature",
  wrong_extended_key_usage: "the leaf's extended key usage lacks serverAuth or clientAuth",
  unknown_critical_extension: "the certificate has a critical extension that is not understood",
  wrong_trust_domain: "the certificate belongs to another trust domain",
  issuer_of_other_trust_domain: "an issuer in the chain belongs to another trust domain",
  issuer_has_path:
    "the SPIFFE id of an issuer in the chain has a path; that of a CA is its trust domain alone",
  self_signed: "the leaf is self-signed",
  unknown_issuer: "no certificate of the chain or of the trust bundle issued it",
  bad_signature: "the issuer's name matches but the signature does not",
  issuer_not_ca: "an issuer in the chain is not a CA",
  path_too_long: "an issuer's path length limit is exceeded",
  expired: "a certificate of the chain has expired; compare the clocks of the two machines too",
  not_yet_valid: "a certificate of the chain is not valid yet; compare the clocks of the two machines",
  revoked: "the certificate was revoked",
  wrong_identity: "the certificate is valid but belongs to another service",
  bad_request: "the signing request is not a PKCS#10 request",
  bad_request_signature: "the signing request is not signed with its own key",
  weak_key: "the key is too weak",
  unsupported_key: "the key is neither ECDSA P-256 nor P-384",
  key_mismatch: "the private key does not belong to the certificate",
  bad_key: "the text is not a private key",
  key_encrypted: "the private key is encrypted: name the file with its passphrase (--ca-key-passphrase-file)",
  wrong_passphrase: "the passphrase does not open the private key, or the key is damaged",
  bad_bundle: "the trust bundle has no certificate",
  bad_token: "the text is not a join token (rmr1.<secret>.<fingerprint of the root CA>)",
} as const;

export type RefusalReason = keyof typeof refusalTexts;

/** Something about a certificate, key, request or token is refused. Its text is one line, with nothing secret in it. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, detail?: string, options?: ErrorOptions) {
    super(detail === undefined ? refusalTexts[reason] : `${refusalTexts[reason]}: ${detail}`, options);
    this.reason = reason;
  }
}
