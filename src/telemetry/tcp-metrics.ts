import { responseFlagsLabel } from "./bounded-labels.js";
import type { Counter } from "./cells.js";
import type { LabelValues } from "./family.js";
import type { Metrics, TcpLabel } from "./metrics.js";
import { callerOf, maxPeers, otherCallers, partyLabels, type RequestParties } from "./request-metrics.js";

/** Istio's standard metrics of the TCP connections between one pair of services. Bytes are added while they flow. */
export class TcpMetrics {
  readonly opened: Counter;
  /** Bytes that the client sent. */
  readonly received: Counter;
  /** Bytes that the client was sent. */
  readonly sent: Counter;
  readonly #metrics: Metrics;
  readonly #labels: LabelValues<TcpLabel>;
  /** Key: label of the response flags. */
  readonly #closed = new Map<string, Counter>();

  constructor(metrics: Metrics, parties: RequestParties) {
    this.#metrics = metrics;
    this.#labels = { ...partyLabels(parties), response_flags: "-" };
    this.opened = metrics.tcpConnectionsOpened.cell(this.#labels);
    this.received = metrics.tcpReceivedBytes.cell(this.#labels);
    this.sent = metrics.tcpSentBytes.cell(this.#labels);
  }

  /** Counts one connection that is over; `flags` is "-" when all was well. */
  closed(flags: string): void {
    const label = responseFlagsLabel(flags);
    let cell = this.#closed.get(label);
    if (cell === undefined) {
      cell = this.#metrics.tcpConnectionsClosed.cell({ ...this.#labels, response_flags: label });
      this.#closed.set(label, cell);
    }
    cell.value++;
  }

  /** The destination is gone: its series are no longer exposed. */
  forget(): void {
    this.#metrics.tcpConnectionsOpened.remove(this.#labels);
    this.#metrics.tcpReceivedBytes.remove(this.#labels);
    this.#metrics.tcpSentBytes.remove(this.#labels);
    for (const label of this.#closed.keys())
      this.#metrics.tcpConnectionsClosed.remove({ ...this.#labels, response_flags: label });
  }
}

/** TcpMetrics of an inbound listener by the verified identity of the caller. */
export class PeerTcpMetrics {
  readonly #metrics: Metrics;
  readonly #parties: Omit<RequestParties, "source" | "reporter" | "security">;
  /** Key: SPIFFE id; "" without one. */
  readonly #byPeer = new Map<string, TcpMetrics>();
  #overflow: TcpMetrics | undefined;

  constructor(metrics: Metrics, parties: Omit<RequestParties, "source" | "reporter" | "security">) {
    this.#metrics = metrics;
    this.#parties = parties;
  }

  /** `peerId` is a verified SPIFFE id, or undefined for a plaintext caller. */
  of(peerId: string | undefined): TcpMetrics {
    const known = this.#byPeer.get(peerId ?? "");
    if (known !== undefined) return known;
    if (this.#byPeer.size >= maxPeers) return (this.#overflow ??= this.#make(otherCallers, "mutual_tls"));
    const made = this.#make(callerOf(peerId), peerId === undefined ? "none" : "mutual_tls");
    this.#byPeer.set(peerId ?? "", made);
    return made;
  }

  #make(source: RequestParties["source"], security: RequestParties["security"]): TcpMetrics {
    return new TcpMetrics(this.#metrics, { ...this.#parties, reporter: "destination", source, security });
  }
}
