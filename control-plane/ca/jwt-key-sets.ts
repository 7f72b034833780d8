import { jwkSetText, type JwtKey } from "../../certs/jwk.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";

/** Keeps `sets`, JWK sets in JSON by trust domain, up to date: our own keys, and apart from them those of other meshes. */
export function feedJwtKeySets(
  sets: LatestValue<ReadonlyMap<string, string>>,
  inputs: {
    readonly trustDomain: string;
    readonly own: LatestValue<readonly JwtKey[]>;
    readonly federated: LatestValue<ReadonlyMap<string, string>>;
  },
): void {
  const { trustDomain, own, federated } = inputs;
  // Ours last: no other mesh can take our own place.
  const update = (): void => sets.set(new Map([...federated.get(), [trustDomain, jwkSetText(own.get())]]));
  own.watch(update);
  federated.watch(update);
  update();
}
