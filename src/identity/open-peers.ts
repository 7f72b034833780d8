import type { Socket } from "node:net";
import type { RefusalReason } from "../../certs/certificate-error.js";
import type { Clock, Timer } from "../time/clock.js";
import { rootsOf, type MeshTrust, type TrustSource } from "./mesh-trust.js";
import type { ProvenPeer } from "./verify-peer.js";

/** Some connections of one peer that were closed because it is no longer believed. */
export interface ClosedPeer {
  readonly id: string;
  readonly reason: RefusalReason;
  readonly connections: number;
}

/** What else is known of a connection. */
export interface OpenConnection {
  /** Fingerprint of the root that our own certificate led to. */
  readonly ownRoot?: string | undefined;
  /** Ends it when what is under way is done: it takes nothing new from now on. */
  readonly retire?: (() => void) | undefined;
}

interface Open extends OpenConnection {
  readonly socket: Socket;
  readonly peer: ProvenPeer;
  end: Timer | undefined;
}

/** Peers that are listed in one report; the rest is in their connections' own ends. */
const maxReported = 100;
/** For requests under way on a connection that is to go. */
const graceMs = 30_000;
/** The longest timer of node. */
const maxTimerMs = 2 ** 31 - 1;

/**
 * The open connections of verified peers, in both directions: node keeps a connection open whatever becomes of the certificate
 * that it was opened with. Who is revoked, or of a trust domain that is not believed any more, is cut off at once. When only
 * the root was replaced, requests go over to new connections and what is long-lived may stay as long as its certificate.
 */
export class OpenPeers {
  readonly #open = new Set<Open>();
  readonly #clock: Clock;
  readonly #stop: () => void;

  constructor(trust: TrustSource, clock: Clock, onClosed: (closed: readonly ClosedPeer[]) => void) {
    this.#clock = clock;
    this.#stop = trust.watch((now) => {
      const closed = this.#check(now);
      if (closed.length > 0) onClosed(closed);
    });
  }

  /** Until it closes. */
  add(socket: Socket, peer: ProvenPeer, connection: OpenConnection = {}): void {
    const entry: Open = { socket, peer, end: undefined, ...connection };
    this.#open.add(entry);
    socket.once("close", () => {
      entry.end?.cancel();
      this.#open.delete(entry);
    });
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
    for (const { end } of this.#open) end?.cancel();
  }

  #check(trust: MeshTrust): readonly ClosedPeer[] {
    const closed = new Map<string, ClosedPeer>();
    for (const entry of [...this.#open]) {
      const { socket, peer } = entry;
      const reason = distrust(trust, peer);
      if (reason === "unknown_issuer" || (reason === undefined && isRootGone(trust, entry))) {
        this.#retire(entry);
        continue;
      }
      if (reason === undefined) continue;
      socket.destroy();
      const key = `${peer.id} ${reason}`;
      if (closed.size >= maxReported && !closed.has(key)) continue;
      closed.set(key, { id: peer.id, reason, connections: (closed.get(key)?.connections ?? 0) + 1 });
    }
    return [...closed.values()];
  }

  #retire(entry: Open): void {
    if (entry.end !== undefined) return;
    // A connection may be older than the life of a leaf: its requests are to finish all the same.
    const leftMs = Math.max(graceMs, entry.peer.notAfterMs - this.#clock.wallMs());
    entry.end = this.#clock.timer(Math.min(leftMs, maxTimerMs), () => entry.socket.destroy());
    entry.retire?.();
  }
}

/** Why a peer that was verified before is not believed any more. */
export function distrust(trust: MeshTrust, peer: ProvenPeer): RefusalReason | undefined {
  if (trust.revoked.has(peer.serial)) return "revoked";
  const roots = rootsOf(trust, peer.trustDomain);
  if (roots === undefined) return "wrong_trust_domain";
  return roots.anchors.has(peer.root) ? undefined : "unknown_issuer";
}

/** The peer will believe our certificate of then no more. */
function isRootGone(trust: MeshTrust, { ownRoot }: Open): boolean {
  if (ownRoot === undefined) return false;
  return ![...trust.bundles.keys()].some((domain) => rootsOf(trust, domain)?.anchors.has(ownRoot));
}
