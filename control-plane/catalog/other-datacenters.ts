import type { CatalogState } from "./catalog.js";

/** What policies want of other datacenters, as of now. Immutable. */
export interface OtherDatacenters {
  /** Name of the one whose services are the mesh's own; undefined: not known. */
  readonly own: string | undefined;
  /** Key: name. Only those that are read. */
  readonly others: ReadonlyMap<string, OtherDatacenter>;
}

export interface OtherDatacenter extends CatalogState {
  /** False while it has no services because it was never read, not even before the start. */
  readonly isRead: boolean;
}
