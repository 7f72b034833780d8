import type { Socket } from "node:net";
import type { RefusalReason } from "../../certs/certificate-error.js";
import { rootsOf, type MeshTrust, type TrustSource } from "./mesh-trust.js";
import type { ProvenPeer } from "./verify-peer.js";

/** Some connections of one peer that were closed because it is no longer believed. */
export interface ClosedPeer {
  readonly id: string;
  readonly reason: RefusalReason;
  readonly connections: number;
}

/** Peers that are listed in one report; the rest is in their connections' own ends. */
const maxReported = 100;

/**
 * The open connections of verified peers, in both directions: node keeps a connection open whatever becomes of the certificate
 * that it was opened with, so whoever loses our trust is cut off here, at once.
 */
export class OpenPeers {
  readonly #open = new Set<{ readonly socket: Socket; readonly peer: ProvenPeer }>();
  readonly #stop: () => void;

  constructor(trust: TrustSource, onClosed: (closed: readonly ClosedPeer[]) => void) {
    this.#stop = trust.watch((now) => {
      const closed = this.#check(now);
      if (closed.length > 0) onClosed(closed);
    });
  }

  /** Until it closes. */
  add(socket: Socket, peer: ProvenPeer): void {
    const entry = { socket, peer };
    this.#open.add(entry);
    socket.once("close", () => this.#open.delete(entry));
  }

  get count(): number {
    return this.#open.size;
  }

  /** Cuts off everybody. Returns how many connections there were. */
  closeAll(): number {
    const all = [...this.#open];
    for (const { socket } of all) socket.destroy();
    return all.length;
  }

  close(): void {
    this.#stop();
  }

  #check(trust: MeshTrust): readonly ClosedPeer[] {
    const closed = new Map<string, ClosedPeer>();
    for (const { socket, peer } of [...this.#open]) {
      const reason = distrust(trust, peer);
      if (reason === undefined) continue;
      socket.destroy();
      const key = `${peer.id} ${reason}`;
      if (closed.size >= maxReported && !closed.has(key)) continue;
      closed.set(key, { id: peer.id, reason, connections: (closed.get(key)?.connections ?? 0) + 1 });
    }
    return [...closed.values()];
  }
}

/** Why a peer that was verified before is not believed any more. */
export function distrust(trust: MeshTrust, peer: ProvenPeer): RefusalReason | undefined {
  if (trust.revoked.has(peer.serial)) return "revoked";
  const roots = rootsOf(trust, peer.trustDomain);
  if (roots === undefined) return "wrong_trust_domain";
  return roots.anchors.has(peer.root) ? undefined : "unknown_issuer";
}
