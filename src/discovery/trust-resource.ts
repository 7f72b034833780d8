import { CertificateError } from "../../certs/certificate-error.js";
import { isTrustDomain } from "../../certs/spiffe-id.js";
import { readRoots } from "../../certs/verify.js";
import type { MeshTrust } from "../identity/mesh-trust.js";
import { Fields } from "./fields.js";
import { resource, typeUrls, type ResourceSet } from "./resource.js";
import { wire } from "./wire.js";

/** Name of the one resource of type remora.v1.Trust. */
export const trustName = "trust";

/** More are no federation that anybody runs, and each handshake looks at all of them. */
const maxBundles = 1000;
const serialPattern = /^[0-9A-F]{1,64}$/;

export function encodeTrust({ version, bundles, jwtKeys, revoked, issuer }: MeshTrust): Buffer {
  return wire.remoraTrust.encode({
    version,
    bundles: [...bundles].map(([trustDomain, rootsPem]) => ({ trustDomain, rootsPem })),
    jwtKeys: [...(jwtKeys ?? [])].map(([trustDomain, jwkSet]) => ({ trustDomain, jwkSet })),
    revokedSerials: [...revoked],
    issuer: issuer ?? "",
  });
}

/** The set of the one resource, as it is sent. */
export function trustSet(trust: MeshTrust): ResourceSet {
  const resources = new Map([[trustName, resource(trustName, encodeTrust(trust))]]);
  return { typeUrl: typeUrls.trust, version: trust.version, resources };
}

/** @throws ConfigError that names the place: a trust that cannot be used is refused as a whole. */
export function decodeTrust(bytes: Buffer): MeshTrust {
  const fields = Fields.decode(wire.remoraTrust, bytes, trustName);
  const entries = fields.messages("bundles");
  if (entries.length > maxBundles) throw fields.error("bundles", `more than ${maxBundles}`);
  const bundles = new Map<string, string>();
  for (const entry of entries) {
    const trustDomain = entry.requiredString("trustDomain");
    if (!isTrustDomain(trustDomain)) throw entry.error("trustDomain", "no trust domain");
    if (bundles.has(trustDomain)) throw entry.error("trustDomain", "comes twice");
    const rootsPem = entry.requiredString("rootsPem");
    assertRoots(entry, rootsPem);
    bundles.set(trustDomain, rootsPem);
  }
  const serials = fields.strings("revokedSerials");
  if (!serials.every((serial) => serialPattern.test(serial)))
    throw fields.error("revokedSerials", "not hexadecimal");
  const issuer = fields.string("issuer");
  const jwtKeys = decodeJwtKeys(fields);
  return {
    version: fields.requiredString("version"),
    bundles,
    ...(jwtKeys.size > 0 && { jwtKeys }),
    revoked: new Set(serials),
    ...(issuer !== "" && { issuer }),
  };
}

function assertRoots(entry: Fields, pem: string): void {
  try {
    if (readRoots(pem).length === 0) throw entry.error("rootsPem", "no certificate");
  } catch (error) {
    if (error instanceof CertificateError) throw entry.error("rootsPem", error.message);
    throw error;
  }
}

/** Keys that are of no use are left out where they are used: they say nothing of X.509. */
function decodeJwtKeys(fields: Fields): ReadonlyMap<string, string> {
  const entries = fields.messages("jwtKeys");
  if (entries.length > maxBundles) throw fields.error("jwtKeys", `more than ${maxBundles}`);
  return new Map(
    entries.map((entry) => {
      const trustDomain = entry.requiredString("trustDomain");
      if (!isTrustDomain(trustDomain)) throw entry.error("trustDomain", "no trust domain");
      return [trustDomain, entry.requiredString("jwkSet")];
    }),
  );
}
