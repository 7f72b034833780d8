import { overflowLabel } from "./family.js";
import type { Party, RequestParties } from "./request-metrics.js";

/** Callers that are told apart at an inbound listener; further ones are counted together. */
const maxPeers = 200;
const spiffe = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/svc\/([^/]+)$/;
const unknown: Party = { workload: "unknown", namespace: "unknown", principal: "unknown", version: "" };
/** All callers beyond maxPeers. */
const otherCallers: Party = {
  workload: overflowLabel,
  namespace: overflowLabel,
  principal: overflowLabel,
  version: "",
};

/** The metrics of an inbound listener by the verified identity of the caller. */
export class MetricsByPeer<T> {
  readonly #parties: Omit<RequestParties, "source" | "reporter" | "security">;
  readonly #create: (parties: RequestParties) => T;
  /** Key: SPIFFE id; "" without one. */
  readonly #byPeer = new Map<string, T>();
  #overflow: T | undefined;

  /** @param create makes the metrics of one pair of parties; once for each caller. */
  constructor(
    parties: Omit<RequestParties, "source" | "reporter" | "security">,
    create: (parties: RequestParties) => T,
  ) {
    this.#parties = parties;
    this.#create = create;
  }

  /** `peerId` is a verified SPIFFE id, or undefined for a plaintext caller. */
  of(peerId: string | undefined): T {
    const known = this.#byPeer.get(peerId ?? "");
    if (known !== undefined) return known;
    if (this.#byPeer.size >= maxPeers) return (this.#overflow ??= this.#make(otherCallers, "mutual_tls"));
    const made = this.#make(callerOf(peerId), peerId === undefined ? "none" : "mutual_tls");
    this.#byPeer.set(peerId ?? "", made);
    return made;
  }

  #make(source: Party, security: RequestParties["security"]): T {
    return this.#create({ ...this.#parties, reporter: "destination", source, security });
  }
}

/** `id` is a verified SPIFFE id, or undefined for a plaintext caller. */
function callerOf(id: string | undefined): Party {
  if (id === undefined) return unknown;
  const [, namespace = "unknown", workload = "unknown"] = spiffe.exec(id) ?? [];
  return { workload, namespace, principal: id, version: "" };
}
