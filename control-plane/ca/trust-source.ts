import { createHash } from "node:crypto";
import { trustSet } from "../../src/discovery/trust-resource.js";
import type { ResourceSet } from "../../src/discovery/resource.js";
import type { MeshTrust, TrustSource } from "../../src/identity/mesh-trust.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";

/** What the CA says of itself. */
export interface OwnRoots {
  /** PEM of every root that leaves of the mesh may lead to. */
  readonly bundlePem: string;
  /** Subject key id of the CA certificate that signs now, hexadecimal; undefined: any leaf will do. */
  readonly issuer: string | undefined;
}

export interface TrustInputs {
  readonly trustDomain: string;
  readonly roots: LatestValue<OwnRoots>;
  /** Serials, as Svid.serial. */
  readonly revoked: LatestValue<ReadonlySet<string>>;
  /** PEM roots by trust domain, of other meshes that ours works with. */
  readonly federated: LatestValue<ReadonlyMap<string, string>>;
  /** JWK sets in JSON by trust domain, ours among them: keys that sign JWT-SVIDs. */
  readonly jwtKeys?: LatestValue<ReadonlyMap<string, string>>;
}

/** Whom the mesh believes, put together from those who know. */
export interface TrustPublisher {
  readonly trust: TrustSource;
  /** The same as it is sent to sidecars. */
  resources(): ResourceSet;
  close(): void;
}

export function publishTrust(inputs: TrustInputs): TrustPublisher {
  const { roots, revoked, federated, jwtKeys } = inputs;
  const trust: TrustSource = new LatestValue<MeshTrust>(combined(inputs));
  const update = (): void => {
    const next = combined(inputs);
    if (next.version !== trust.get().version) trust.set(next);
  };
  const stops = [roots, revoked, federated, jwtKeys].flatMap((input) => input?.watch(update) ?? []);
  let sent: { readonly of: MeshTrust; readonly set: ResourceSet } | undefined;
  return {
    trust,
    resources() {
      const of = trust.get();
      if (sent?.of !== of) sent = { of, set: trustSet(of) };
      return sent.set;
    },
    close() {
      for (const stop of stops) stop();
    },
  };
}

function combined({ trustDomain, roots, revoked, federated, jwtKeys }: TrustInputs): MeshTrust {
  const { bundlePem, issuer } = roots.get();
  // Ours last: no other mesh can take our own place.
  const bundles = new Map([...federated.get(), [trustDomain, bundlePem]]);
  const content = {
    bundles: new Map([...bundles].sort()),
    ...(jwtKeys !== undefined && { jwtKeys: new Map([...jwtKeys.get()].sort()) }),
    revoked: new Set([...revoked.get()].sort()),
    issuer,
  };
  return { version: versionOf(content), ...content };
}

/** Equal content, equal version: also after a restart. */
function versionOf({ bundles, jwtKeys, revoked, issuer }: Omit<MeshTrust, "version">): string {
  const text = JSON.stringify([[...bundles], [...(jwtKeys ?? [])], [...revoked], issuer ?? ""]);
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
