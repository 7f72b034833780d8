import { meshNamespaces, selectedService } from "../../src/config/documents/service-selector.js";
import type { PeerAuthentication } from "../../src/config/documents/peer-authentication.js";
import type { MtlsMode } from "../../src/config/snapshot.js";
import type { MeshIndex } from "./mesh-index.js";
import { splitServiceKey } from "./service-name.js";

/** Plaintext to a service is an exception that a policy has to make. */
const defaultMtlsMode: MtlsMode = "STRICT";

/** The TrafficPolicy of the service, or else the nearest PeerAuthentication: of the service, the namespace, the mesh. */
export function mtlsModeOf(index: MeshIndex, key: string): MtlsMode {
  const own = index.policies.get(key)?.policy.spec.mtls?.mode;
  if (own !== undefined) return own;
  const { service, namespace } = splitServiceKey(key, "default");
  const levels: ((document: PeerAuthentication) => boolean)[] = [
    ({ metadata, spec }) => metadata.namespace === namespace && selectedService(spec.selector) === service,
    ({ metadata, spec }) => metadata.namespace === namespace && selectedService(spec.selector) === undefined,
    ({ metadata, spec }) =>
      meshNamespaces.includes(metadata.namespace) && selectedService(spec.selector) === undefined,
  ];
  for (const isOfLevel of levels) {
    // Oldest first: like Istio, the first of a level counts.
    const mode = index.peerAuthentication.find(isOfLevel)?.spec.mtls?.mode ?? "UNSET";
    if (mode !== "UNSET") return mode;
  }
  return defaultMtlsMode;
}
