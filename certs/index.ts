/** Identity for a mesh: SPIFFE ids, keys, certificates, signing requests, a CA, and their verification. */
export {
  createIntermediateCa,
  createRootCa,
  defaultLeafTtlMs,
  issueLeaf,
  loadAuthority,
  maxLeafTtlMs,
} from "./authority.js";
export type { Authority, IssuedCertificate } from "./authority.js";
export { fingerprint, splitPemCertificates, toPem } from "./bundle.js";
export { CertificateError, refusalTexts, type RefusalReason } from "./certificate-error.js";
export { parseCertificate, type Certificate, type KeyUsage } from "./certificate.js";
export { createCsr, parseCsr, type SigningRequest } from "./csr.js";
export type { SubjectAltName } from "./general-name.js";
export { describeCertificate, describeVerification, inspectCertificates } from "./inspect.js";
export type { CertificateSummary } from "./inspect.js";
export { joinTokenHash, newJoinToken, parseJoinToken, type JoinToken } from "./join-token.js";
export { generateKeyPem, publicKeySpki, readPrivateKey } from "./keys.js";
export type { PublicKey } from "./public-key.js";
export { makePrivateFolder, readSecretFile, SecretFileError, writeFileAtomic } from "./secret-file.js";
export { formatSpiffeId, isServiceName, isTrustDomain, parseSpiffeId, type SpiffeId } from "./spiffe-id.js";
export { svidIdentity, svidIdentityOfDer, type SvidIdentity } from "./svid-rules.js";
export { verifySvidChain, type Verification } from "./verify.js";
