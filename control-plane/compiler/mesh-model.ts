import type { Verdict } from "../../src/config/authorization-config.js";
import type { CatalogState } from "../catalog/catalog.js";
import type { OtherDatacenters } from "../catalog/other-datacenters.js";
import type { ConnectProtocols } from "../catalog/consul-protocols.js";
import type { Intentions } from "../catalog/intention.js";
import type { StoredDocument } from "../policy-store/stored-document.js";

/** Everything that the snapshots of all sidecars are made from. Immutable. */
export interface MeshModel {
  /** Without `spiffe://`. */
  readonly trustDomain: string;
  /** Consul's, when its CA gives the identities: theirs name it. */
  readonly datacenter?: string | undefined;
  readonly catalog: CatalogState;
  /** What policies want of Consul's other datacenters; absent: the registry has none. */
  readonly datacenters?: OtherDatacenters | undefined;
  /** Consul's word on who may call whom; absent when it is not asked. */
  readonly intentions?: Intentions | undefined;
  /** Consul's word on what services speak; absent when it is not asked. */
  readonly connectProtocols?: ConnectProtocols | undefined;
  /** In any order. */
  readonly documents: readonly StoredDocument[];
  /** What becomes of requests that no AuthorizationPolicy speaks about. Absent: allow. */
  readonly defaultAction?: Verdict;
}
