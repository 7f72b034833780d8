/** Who a sidecar says it is when it opens its config stream; the identity part is checked against its certificate. */
export type { SidecarNode as MeshNode } from "../../src/discovery/node.js";
