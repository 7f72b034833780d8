import { splitPemCertificates } from "../../certs/bundle.js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCertificate } from "../../certs/certificate.js";
import { publicKeySpki, readPrivateKey } from "../../certs/keys.js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import { svidIdentity } from "../../certs/svid-rules.js";
import type { Svid } from "./svid.js";

/** The three texts that make an identity: from the CA's answer, or from disk. */
export interface SvidTexts {
  /** Leaf first, then intermediates. */
  readonly certChainPem: string;
  readonly keyPem: string;
  readonly bundlePem: string;
}

/**
 * Puts an identity together and makes sure that its parts fit: the leaf is an SVID, the key is its key, and there is a
 * root to trust. Time and chain are not looked at: an expired identity is still somebody's.
 * @throws CertificateError
 */
export function assembleSvid(texts: SvidTexts): Svid {
  const [der] = splitPemCertificates(texts.certChainPem);
  if (der === undefined) throw new CertificateError("no_certificate", "no CERTIFICATE block");
  const leaf = parseCertificate(der);
  const identity = svidIdentity(leaf);
  if (!identity.ok) throw new CertificateError(identity.reason);
  parseSpiffeId(identity.id);
  if (!publicKeySpki(readPrivateKey(texts.keyPem)).equals(leaf.publicKey.spkiDer))
    throw new CertificateError("key_mismatch");
  const roots = splitPemCertificates(texts.bundlePem);
  if (roots.length === 0) throw new CertificateError("bad_bundle");
  for (const root of roots) parseCertificate(root);
  const { serial, notBeforeMs, notAfterMs } = leaf;
  return { id: identity.id, ...texts, serial, notBeforeMs, notAfterMs };
}
