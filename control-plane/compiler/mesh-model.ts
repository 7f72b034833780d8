import type { Verdict } from "../../src/config/authorization-config.js";
import type { CatalogState } from "../catalog/catalog.js";
import type { StoredDocument } from "../policy-store/stored-document.js";

/** Everything that the snapshots of all sidecars are made from. Immutable. */
export interface MeshModel {
  /** Without `spiffe://`. */
  readonly trustDomain: string;
  /** Consul's, when its CA gives the identities: theirs name it. */
  readonly datacenter?: string | undefined;
  readonly catalog: CatalogState;
  /** In any order. */
  readonly documents: readonly StoredDocument[];
  /** What becomes of requests that no AuthorizationPolicy speaks about. Absent: allow. */
  readonly defaultAction?: Verdict;
}
