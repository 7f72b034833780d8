import type { Protocol } from "../../src/config/snapshot.js";

/** Who a sidecar says it is when it opens its config stream; the identity part is checked against its certificate. */
export interface MeshNode {
  /** Unique per sidecar process and stable over its restarts. */
  readonly id: string;
  readonly service: string;
  readonly namespace: string;
  readonly protocol: Protocol;
  /** `<service>.<namespace>` names the node wants to reach; empty = every service of the mesh. */
  readonly upstreams: readonly string[];
  readonly zone: string;
}
