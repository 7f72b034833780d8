import { responseFlagsLabel } from "./bounded-labels.js";
import type { Counter } from "./cells.js";
import type { LabelValues } from "./family.js";
import type { Metrics } from "./metrics.js";
import type { TcpLabel } from "./standard-metrics.js";
import { partyLabels, type RequestParties } from "./request-metrics.js";

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
