import { fingerprint, splitPemCertificates } from "../../certs/bundle.js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import { anchorOf, readRoots, type Roots } from "../../certs/verify.js";
import type { LatestValue } from "../lifecycle/latest-value.js";
import type { Svid } from "./svid.js";

/** Whom the mesh believes. The control plane says so; every sidecar holds the same. */
export interface MeshTrust {
  /** Of the content; "" before the control plane has said anything. */
  readonly version: string;
  /** PEM roots by trust domain; our own is always there. */
  readonly bundles: ReadonlyMap<string, string>;
  /** JWK sets in JSON, by trust domain: keys that sign its JWT-SVIDs. */
  readonly jwtKeys?: ReadonlyMap<string, string>;
  /** Serials (hexadecimal, as Svid.serial) of leaves that nobody may use any more. */
  readonly revoked: ReadonlySet<string>;
  /**
   * Subject key id, in hexadecimal, of the CA certificate that signs leaves now: who has a leaf of another one renews soon.
   * undefined: every leaf will do.
   */
  readonly issuer?: string | undefined;
}

/** Where the trust in force is read, and what tells of a newer one. */
export type TrustSource = LatestValue<MeshTrust>;

/** What an identity alone gives: its own trust domain, nobody revoked. */
export function trustOfSvid(svid: Svid): MeshTrust {
  const { trustDomain } = parseSpiffeId(svid.id);
  return { version: "", bundles: new Map([[trustDomain, svid.bundlePem]]), revoked: new Set() };
}

/** The same trust with other roots for one trust domain. */
export function withBundle(trust: MeshTrust, trustDomain: string, pem: string): MeshTrust {
  return { ...trust, bundles: new Map([...trust.bundles, [trustDomain, pem]]) };
}

/** Only this trust domain of it: for listeners that serve nobody else. */
export function onlyOwn(trust: MeshTrust, trustDomain: string): MeshTrust {
  return { ...trust, bundles: new Map([[trustDomain, trust.bundles.get(trustDomain) ?? ""]]) };
}

/** Roots of one trust domain, made ready for many checks. */
interface ReadyRoots {
  readonly roots: Roots;
  /** Fingerprints. */
  readonly anchors: ReadonlySet<string>;
}

const ready = new WeakMap<MeshTrust, Map<string, ReadyRoots>>();

/** The roots of a trust domain, read once per trust; undefined when it is not believed. @throws CertificateError */
export function rootsOf(trust: MeshTrust, trustDomain: string): ReadyRoots | undefined {
  const pem = trust.bundles.get(trustDomain);
  if (pem === undefined) return undefined;
  let known = ready.get(trust);
  if (known === undefined) ready.set(trust, (known = new Map<string, ReadyRoots>()));
  let found = known.get(trustDomain);
  if (found === undefined) {
    found = { roots: readRoots(pem), anchors: new Set(splitPemCertificates(pem).map(fingerprint)) };
    known.set(trustDomain, found);
  }
  return found;
}

const ownRoots = new WeakMap<Svid, string | undefined>();

/** Fingerprint of the root that our own certificate leads to; undefined when it leads to none of these. */
export function ownRootOf(svid: Svid | undefined, trust: MeshTrust): string | undefined {
  if (svid === undefined) return undefined;
  if (ownRoots.has(svid)) return ownRoots.get(svid);
  const { trustDomain } = parseSpiffeId(svid.id);
  const roots = rootsOf(trust, trustDomain)?.roots ?? [];
  const anchoring = anchorOf(splitPemCertificates(svid.certChainPem), roots, trustDomain);
  const root = anchoring.ok ? anchoring.root : undefined;
  ownRoots.set(svid, root);
  return root;
}
