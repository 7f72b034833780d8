import { createPrivateKey } from "node:crypto";
import { splitPemCertificates } from "../../certs/bundle.js";
import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import type { Svid } from "../identity/svid.js";
import type { JwtBundlesResponse, X509BundlesResponse, X509SvidResponse } from "./protocol.js";

/** What workloads may know of trust. */
export type WorkloadTrust = Pick<MeshTrust, "bundles" | "jwtKeys">;

const emptySet = JSON.stringify({ keys: [] });

/** The identity with the roots of its own trust domain and, apart from them, of each federated one. */
export function x509SvidAnswer(svid: Svid, trust: WorkloadTrust): X509SvidResponse {
  const { trustDomain } = splitSpiffeUri(svid.id);
  const federated = [...trust.bundles].filter(([domain]) => domain !== trustDomain);
  return {
    svids: [
      {
        spiffeId: svid.id,
        x509Svid: derOf(svid.certChainPem),
        x509SvidKey: createPrivateKey(svid.keyPem).export({ type: "pkcs8", format: "der" }),
        bundle: derOf(trust.bundles.get(trustDomain) ?? svid.bundlePem),
        hint: "",
      },
    ],
    crl: [],
    federatedBundles: byUri(federated, derOf),
  };
}

/** The roots of all trust domains, each under its own name. */
export function x509BundlesAnswer(svid: Svid, trust: WorkloadTrust): X509BundlesResponse {
  const { trustDomain } = splitSpiffeUri(svid.id);
  return { crl: [], bundles: byUri([[trustDomain, svid.bundlePem], ...trust.bundles], derOf) };
}

export function jwtBundlesAnswer(svid: Svid, trust: WorkloadTrust): JwtBundlesResponse {
  const { trustDomain } = splitSpiffeUri(svid.id);
  return { bundles: byUri([[trustDomain, emptySet], ...(trust.jwtKeys ?? [])], (json) => Buffer.from(json)) };
}

function byUri(
  texts: Iterable<readonly [string, string]>,
  encode: (text: string) => Buffer,
): Readonly<Record<string, Buffer>> {
  return Object.fromEntries([...texts].map(([domain, text]) => [`spiffe://${domain}`, encode(text)]));
}

/** DER values of a PEM text, one after the other. */
function derOf(pem: string): Buffer {
  return Buffer.concat(splitPemCertificates(pem));
}
