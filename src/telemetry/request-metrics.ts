import { grpcStatusLabel, responseCodeLabel, responseFlagsLabel } from "./bounded-labels.js";
import type { Counter, Histogram } from "./cells.js";
import type { LabelValues } from "./family.js";
import type { Metrics } from "./metrics.js";
import type { IstioLabel, PartyLabel } from "./standard-metrics.js";

/** One side of a request, as Istio's labels name it. */
export interface Party {
  /** The service; also `app` and `canonical_service`. */
  readonly workload: string;
  readonly namespace: string;
  /** SPIFFE id, or "unknown" without mTLS. */
  readonly principal: string;
  /** `Service.Meta.version`, or "". */
  readonly version: string;
}

/** Between whom requests are counted, and who counts. */
export interface RequestParties {
  /** source: the caller's sidecar; destination: the called one's. */
  readonly reporter: "source" | "destination";
  readonly source: Party;
  readonly destination: Party;
  readonly trustDomain: string;
  /** Of requests that are not gRPC; those are told from the others one by one. */
  readonly protocol: "http" | "tcp";
  readonly security: "mutual_tls" | "none" | "unknown";
}

interface AnswerCells {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
}

/**
 * Istio's standard metrics of one pair of services. Made when configuration is applied; a request costs one array
 * access, one addition and three observations. Cells of an answer are made when it is seen first; answers are a bounded set.
 */
export class RequestMetrics {
  readonly #metrics: Metrics;
  readonly #labels: LabelValues<PartyLabel>;
  /** Index: status. Answers without flag and gRPC status: almost all. */
  readonly #plain: (AnswerCells | undefined)[] = new Array<AnswerCells | undefined>(600).fill(undefined);
  /** Index: gRPC status. Status 200 without flag: almost all that is gRPC. */
  readonly #plainGrpc: (AnswerCells | undefined)[] = new Array<AnswerCells | undefined>(17).fill(undefined);
  /** Key: labels of status, flags and gRPC status. */
  readonly #others = new Map<string, AnswerCells>();
  readonly #made: LabelValues<IstioLabel>[] = [];

  constructor(metrics: Metrics, parties: RequestParties) {
    this.#metrics = metrics;
    this.#labels = partyLabels(parties);
  }

  /**
   * Counts one request that has ended. `status` is 0 when nobody was left to answer; `flags` is "-" when all is well;
   * sizes are of the bodies; `grpcStatus` is -1 for what is not gRPC.
   */
  record(
    status: number,
    flags: string,
    durationMs: number,
    requestBytes: number,
    responseBytes: number,
    grpcStatus = -1,
  ): void {
    const cells =
      flags === "-" ? this.#withoutFlags(status, grpcStatus) : this.#other(status, flags, grpcStatus);
    cells.requests.value++;
    cells.duration.observe(durationMs);
    cells.requestBytes.observe(requestBytes);
    cells.responseBytes.observe(responseBytes);
  }

  /** The destination is gone: its series are no longer exposed. */
  forget(): void {
    for (const labels of this.#made) {
      this.#metrics.requests.remove(labels);
      this.#metrics.requestDuration.remove(labels);
      this.#metrics.requestBytes.remove(labels);
      this.#metrics.responseBytes.remove(labels);
    }
  }

  #withoutFlags(status: number, grpcStatus: number): AnswerCells {
    if (grpcStatus === -1 && status >= 0 && status < 600)
      return (this.#plain[status] ??= this.#other(status, "-", -1));
    if (status === 200 && grpcStatus >= 0 && grpcStatus < this.#plainGrpc.length)
      return (this.#plainGrpc[grpcStatus] ??= this.#other(200, "-", grpcStatus));
    return this.#other(status, "-", grpcStatus);
  }

  #other(status: number, flags: string, grpcStatus: number): AnswerCells {
    const code = responseCodeLabel(status);
    const flagLabel = responseFlagsLabel(flags);
    const grpc = grpcStatusLabel(grpcStatus);
    const key = `${code} ${flagLabel} ${grpc}`;
    const known = this.#others.get(key);
    if (known !== undefined) return known;
    const labels = {
      ...this.#labels,
      response_code: code,
      ...(grpcStatus === -1 ? {} : { request_protocol: "grpc" }),
      grpc_response_status: grpc,
      response_flags: flagLabel,
    };
    const cells: AnswerCells = {
      requests: this.#metrics.requests.cell(labels),
      duration: this.#metrics.requestDuration.cell(labels),
      requestBytes: this.#metrics.requestBytes.cell(labels),
      responseBytes: this.#metrics.responseBytes.cell(labels),
    };
    this.#others.set(key, cells);
    this.#made.push(labels);
    return cells;
  }
}

/** The labels that tell who talks to whom. */
export function partyLabels({
  reporter,
  source,
  destination,
  trustDomain,
  protocol,
  security,
}: RequestParties): LabelValues<PartyLabel> {
  return {
    reporter,
    source_workload: source.workload,
    source_workload_namespace: source.namespace,
    source_principal: source.principal,
    source_app: source.workload,
    source_version: source.version,
    source_cluster: trustDomain,
    source_canonical_service: source.workload,
    source_canonical_revision: source.version || "latest",
    destination_workload: destination.workload,
    destination_workload_namespace: destination.namespace,
    destination_principal: destination.principal,
    destination_app: destination.workload,
    destination_version: destination.version,
    destination_cluster: trustDomain,
    destination_canonical_service: destination.workload,
    destination_canonical_revision: destination.version || "latest",
    destination_service: `${destination.workload}.${destination.namespace}.${trustDomain}`,
    destination_service_name: destination.workload,
    destination_service_namespace: destination.namespace,
    request_protocol: protocol,
    connection_security_policy: security,
  };
}
