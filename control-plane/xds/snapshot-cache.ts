import type { Snapshot } from "../../src/config/snapshot.js";
import { bindSets } from "../../src/discovery/xds-resources.js";
import type { MeshNode } from "../compiler/node.js";
import type { Target } from "./session.js";
import { SharedSets } from "./shared-sets.js";

/** Encoded snapshots, one for all nodes that need the same: a thousand sidecars with one need cost one encoding. */
export interface SnapshotCache {
  /** The newest for this node; undefined when there is none yet. Throws what the compiler throws. */
  get(node: MeshNode): Target | undefined;
  /** The model has changed. Entries that nobody asked for since the last call are dropped. */
  invalidate(): void;
}

interface Entry {
  readonly target: Target | undefined;
  isFresh: boolean;
  isUsed: boolean;
}

/** A snapshot depends on what a node is and wants, not on who or where it is. */
export function createSnapshotCache(snapshotFor: (node: MeshNode) => Snapshot | undefined): SnapshotCache {
  const entries = new Map<string, Entry>();
  const shared = new SharedSets();
  return {
    get(node) {
      const { service, namespace, protocol, upstreams } = node;
      const key = JSON.stringify([service, namespace, protocol, ...[...upstreams].sort()]);
      const known = entries.get(key);
      if (known?.isFresh === true) {
        known.isUsed = true;
        return known.target;
      }
      const snapshot = snapshotFor(node);
      const isSame = snapshot !== undefined && known?.target?.version === snapshot.version;
      const target =
        snapshot === undefined || isSame
          ? known?.target
          : { version: snapshot.version, resources: bindSets(snapshot, shared.of(snapshot)) };
      entries.set(key, { target, isFresh: true, isUsed: true });
      return target;
    },
    invalidate() {
      shared.next();
      for (const [key, entry] of entries) {
        if (!entry.isUsed) entries.delete(key);
        entry.isFresh = false;
        entry.isUsed = false;
      }
    },
  };
}
