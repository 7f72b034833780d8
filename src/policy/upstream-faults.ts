import type { ErrorCode } from "../errors/error-table.js";
import type { ProxyError } from "../errors/proxy-error.js";

/**
 * Errors that speak against the endpoint. Not among them: the client going away, limits of our own, and a kept-alive
 * connection that was closed unread (every server does that).
 */
const endpointFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "connect_failed",
  "connect_timeout",
  "upstream_tls_failed",
  "upstream_identity_mismatch",
  "upstream_reset",
  "upstream_closed",
  "upstream_truncated",
  "upstream_protocol_error",
  "upstream_headers_too_large",
  "attempt_timeout",
  "route_timeout",
  "stream_idle_timeout",
]);

/** What speaks against a service besides: no retry made them good. */
const serviceFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...endpointFaults,
  "upstream_unprocessed",
  "keepalive_race",
  "no_healthy_endpoint",
]);

/** Connecting failed for want of descriptors, ports or memory here: ejecting endpoints would turn that into an outage. */
const ownShortages: ReadonlySet<unknown> = new Set([
  "EMFILE",
  "ENFILE",
  "EADDRNOTAVAIL",
  "ENOBUFS",
  "ENOMEM",
]);

/** @param upgrade of the request. @param hasHead the response head has come. */
export function speaksAgainstEndpoint(error: ProxyError, upgrade: string, hasHead: boolean): boolean {
  return isFault(endpointFaults, error, upgrade, hasHead);
}

/** As `speaksAgainstEndpoint`, for a request with all its attempts. */
export function speaksAgainstService(error: ProxyError, upgrade: string, hasHead: boolean): boolean {
  return isFault(serviceFaults, error, upgrade, hasHead);
}

function isFault(
  faults: ReadonlySet<ErrorCode>,
  { code, cause }: ProxyError,
  upgrade: string,
  hasHead: boolean,
): boolean {
  if (!faults.has(code) || ownShortages.has((cause as NodeJS.ErrnoException | undefined)?.code)) return false;
  // Both ends of a tunnel may have nothing to say.
  if (code === "stream_idle_timeout" && upgrade !== "") return false;
  // Servers of raw TCP reset whom they are done with; what speaks against one is that it cannot be connected to (Envoy too).
  return !(hasHead && upgrade === "tcp");
}
