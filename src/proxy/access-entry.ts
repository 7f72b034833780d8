import type { ProxyError } from "../errors/proxy-error.js";
import type { RequestContext } from "../stack/request-context.js";
import type { AccessLogEntry } from "../telemetry/access-log-format.js";
import { getHeader } from "../traffic/headers.js";

export interface Outcome {
  readonly status: number;
  /** -1: not gRPC. */
  readonly grpcStatus: number;
  readonly flag: string;
  readonly durationMs: number;
  /** -1: there was no response head. */
  readonly upstreamMs: number;
  readonly startWallMs: number;
  readonly problem: ProxyError | null;
}

/** What the access log tells of a request that has ended. `asSent`: before any route rewrote it. */
export function accessLogEntry(
  request: RequestContext,
  asSent: { readonly target: string; readonly authority: string },
  outcome: Outcome,
): AccessLogEntry {
  const { head, upstream } = request;
  const { problem } = outcome;
  const isTcp = head.upgrade === "tcp";
  const isConnectFailure = problem?.row.flag === "UF";
  return {
    startWallMs: outcome.startWallMs,
    // Envoy's line for a TCP connection has neither.
    method: isTcp ? "" : head.method,
    path: asSent.target,
    protocol: isTcp ? "" : `HTTP/${head.version}`,
    status: outcome.status,
    grpcStatus: outcome.grpcStatus,
    flags: outcome.flag,
    codeDetails: problem?.logAs ?? (request.details || answeredBy(upstream)),
    upstreamFailure: isConnectFailure ? problem.detail : "",
    bytesReceived: request.requestBytes,
    bytesSent: request.responseBytes,
    durationMs: outcome.durationMs,
    upstreamServiceMs: problem === null && upstream !== undefined ? outcome.upstreamMs : -1,
    forwardedFor: getHeader(head.headers, "x-forwarded-for") ?? "",
    userAgent: getHeader(head.headers, "user-agent") ?? "",
    requestId: request.id,
    authority: asSent.authority,
    upstreamHost: upstream === undefined ? "" : `${upstream.config.address}:${upstream.config.port}`,
    upstreamCluster: request.clusterName,
    upstreamLocalAddress: "",
    downstreamLocalAddress: "",
    downstreamRemoteAddress: request.remoteAddress,
    serverName: "",
    routeName: request.routeName,
    peerId: request.peerId ?? "",
    authorization: request.authorization,
  };
}

/** A redirect is no error and comes from nobody else. */
function answeredBy(upstream: RequestContext["upstream"]): string {
  return upstream === undefined ? "direct_response" : "via_upstream";
}
