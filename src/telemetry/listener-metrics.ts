import { responseClass } from "./bounded-labels.js";
import type { Counter, Gauge } from "./cells.js";
import type { Metrics } from "./metrics.js";

const classes = ["0", "1", "2", "3", "4", "5"] as const;

/** The cells of a listener that its connections count in. */
export interface ListenerConnectionMetrics {
  readonly connections: Counter;
  readonly connectionsActive: Gauge;
  readonly http1Connections: Counter;
  readonly http2Connections: Counter;
}

/** All cells of one listener. Made once, when it starts. */
export class ListenerMetrics implements ListenerConnectionMetrics {
  readonly requests: Counter;
  readonly requestsActive: Gauge;
  readonly connections: Counter;
  readonly connectionsActive: Gauge;
  readonly http1Connections: Counter;
  readonly http2Connections: Counter;
  /** Index: class of status; 0 for anything else. */
  readonly #byClass: readonly Counter[];

  /** `prefix` is `public_listener` for inbound (Consul's dashboards ask for it), `outbound` and so on for others. */
  constructor(metrics: Metrics, localService: string, prefix: string) {
    const labels = { local_cluster: localService, envoy_http_conn_manager_prefix: prefix };
    this.requests = metrics.downstreamRequests.cell(labels);
    this.requestsActive = metrics.downstreamRequestsActive.cell(labels);
    this.connections = metrics.downstreamConnections.cell(labels);
    this.connectionsActive = metrics.downstreamConnectionsActive.cell(labels);
    this.http1Connections = metrics.downstreamHttp1Connections.cell(labels);
    this.http2Connections = metrics.downstreamHttp2Connections.cell(labels);
    this.#byClass = classes.map((envoy_response_code_class) =>
      metrics.downstreamRequestsByClass.cell({ ...labels, envoy_response_code_class }),
    );
  }

  /** One answer that was sent; 0 when nobody was left. */
  response(status: number): void {
    const byClass = this.#byClass[Number(responseClass(status))];
    if (byClass !== undefined) byClass.value++;
  }
}
