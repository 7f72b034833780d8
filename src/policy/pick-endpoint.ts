import type { MtlsMode } from "../config/snapshot.js";
import { ProxyError } from "../errors/proxy-error.js";
import type { Endpoint, Picker } from "../stack/endpoint.js";
import type { Service } from "../stack/service.js";
import { endedCall } from "../stack/service.js";
import type { Clock } from "../time/clock.js";
import type { EndpointDispatch } from "./endpoint-layer.js";

/** The endpoints to choose from; balance/endpoint-set.ts is one. Read anew for each attempt. */
export interface EndpointSource<E extends Endpoint> {
  readonly picker: Picker<E>;
  readonly endpoints: readonly E[];
  /** Those of `endpoints` that no operator has taken out. */
  readonly balanced: readonly E[];
  /** Instances left out because they have no sidecar and the mode is STRICT. */
  readonly refused: number;
  readonly mtlsMode: MtlsMode;
}

export interface PickEndpointOptions<E extends Endpoint> {
  /** Name of the cluster, for error texts. */
  readonly cluster: string;
  /** The part of a service's instances that the cluster stands for, for error texts; absent: all of them. */
  readonly subset?: string | undefined;
  /** The document that set the cluster's mTLS mode, for error texts. */
  readonly source: string;
  readonly endpoints: EndpointSource<E>;
  readonly dispatch: EndpointDispatch<E>;
  readonly clock: Clock;
}

/** The end of a cluster's stack: picks an endpoint for this attempt and hands the request to it. */
export function pickEndpoint<E extends Endpoint>(options: PickEndpointOptions<E>): Service {
  const { clock, endpoints, dispatch } = options;
  return {
    call(request, reply) {
      const nowMs = clock.monotonicMs();
      const endpoint = endpoints.picker.pick(request.tried, nowMs, request.balanceKey);
      if (endpoint === undefined) {
        reply.end(noEndpoint(options, nowMs));
        return endedCall;
      }
      request.attemptAt(endpoint);
      return dispatch(endpoint, request, reply, nowMs);
    },
  };
}

function noEndpoint<E extends Endpoint>(options: PickEndpointOptions<E>, nowMs: number): ProxyError {
  const { endpoints, balanced, refused, mtlsMode } = options.endpoints;
  const cluster = `cluster ${options.cluster}`;
  if (endpoints.length > 0) {
    const ejected = balanced.filter((endpoint) => !endpoint.gate.isOpen(nowMs)).length;
    const isolated = endpoints.length - balanced.length;
    const byHand = isolated === 0 ? "" : `, ${isolated} isolated by an operator`;
    return new ProxyError(
      "no_healthy_endpoint",
      `${cluster}: no endpoint available, ${ejected} of ${endpoints.length} ejected${byHand}`,
    );
  }
  if (refused > 0) {
    return new ProxyError(
      "plaintext_refused",
      `${cluster}: ${refused} of ${refused} instances have no sidecar, mtls mode=${mtlsMode}, source=${options.source}`,
    );
  }
  const known = options.subset === undefined ? "no endpoint known" : `no endpoint in ${options.subset}`;
  return new ProxyError(
    "no_healthy_endpoint",
    `${cluster}: ${known}; is an instance registered and passing its checks?`,
  );
}
