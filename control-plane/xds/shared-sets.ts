import type { Snapshot } from "../../src/config/snapshot.js";
import type { ResourceSet } from "../../src/discovery/resource.js";
import { encodeOutbound } from "../../src/discovery/xds-resources.js";

type Outbound = Pick<Snapshot, "virtualHosts" | "clusters" | "endpoints">;

/**
 * Encodes what snapshots have in common once: a snapshot with the very lists of another gets the very same sets, and a
 * set with the content of one of the model before is that one. So a thousand streams hold one copy, and see by identity
 * that nothing of theirs has changed.
 */
export class SharedSets {
  /** By the list of clusters. */
  #made = new Map<Outbound["clusters"], { readonly from: Outbound; readonly sets: readonly ResourceSet[] }>();
  /** By type and version. */
  #current = new Map<string, ResourceSet>();
  #before: ReadonlyMap<string, ResourceSet> = new Map();

  of(outbound: Outbound): readonly ResourceSet[] {
    const { virtualHosts, clusters, endpoints } = outbound;
    const made = this.#made.get(clusters);
    if (made?.from.virtualHosts === virtualHosts && made.from.endpoints === endpoints) return made.sets;
    const sets = encodeOutbound(outbound).map((set) => this.#shared(set));
    this.#made.set(clusters, { from: { virtualHosts, clusters, endpoints }, sets });
    return sets;
  }

  /** The model has changed: what nobody asks for until the next call is forgotten by then. */
  next(): void {
    this.#made = new Map();
    this.#before = this.#current;
    this.#current = new Map();
  }

  #shared(set: ResourceSet): ResourceSet {
    const key = `${set.typeUrl} ${set.version}`;
    const known = this.#current.get(key) ?? this.#before.get(key) ?? set;
    this.#current.set(key, known);
    return known;
  }
}
