import type { TrafficPolicy } from "../../src/config/documents/traffic-policy.js";
import { identityOf } from "./compile-cluster.js";
import { condition, type Condition } from "./condition.js";
import type { MeshIndex } from "./mesh-index.js";

/** A list of identities without the one that the service's own sidecars prove: right only where none of its instances has one. */
export function unprovenIdentities(
  index: MeshIndex,
  { spec, metadata }: TrafficPolicy,
): readonly Condition[] {
  const allowed = spec.mtls?.peerIdentity;
  if (allowed === undefined) return [];
  return spec.targetRefs
    .filter(({ kind }) => kind === "Service")
    .map(({ name }) => identityOf(index, name, metadata.namespace))
    .filter((own) => !allowed.includes(own))
    .map((own) => {
      const message = `mtls.peerIdentity does not name ${own}, which the sidecars of this mesh prove: instances that have one are refused`;
      return condition("Surprising", "True", "SidecarsRefused", message);
    });
}
