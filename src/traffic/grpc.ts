import { getHeader } from "./headers.js";

/**
 * What the mesh needs to know of gRPC ("gRPC over HTTP2", PROTOCOL-HTTP2.md): which requests speak it, and how a call ended.
 * Not gRPC-Web, which has another form of trailers and understands an HTTP status.
 */
export function isGrpc(headers: readonly string[]): boolean {
  const type = getHeader(headers, "content-type");
  if (type === undefined || type.length < 16) return false;
  return type === "application/grpc" || /^application\/grpc(?:$|[+;\s])/i.test(type);
}

/** Value of grpc-status in a head (trailers-only) or in trailers: 0-16; undefined when absent or not such a number. */
export function grpcStatusOf(fields: readonly string[]): number | undefined {
  const text = getHeader(fields, "grpc-status");
  if (text === undefined || !/^(?:\d|1[0-6])$/.test(text)) return undefined;
  return Number(text);
}

/** The gRPC status (0-16) that clients make of an HTTP response without grpc-status ("HTTP to gRPC Status Code Mapping"). */
export function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13; // INTERNAL
    case 401:
      return 16; // UNAUTHENTICATED
    case 403:
      return 7; // PERMISSION_DENIED
    case 404:
      return 12; // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504:
      return 14; // UNAVAILABLE
    default:
      return 2; // UNKNOWN
  }
}

/**
 * Does this status speak against the server, rather than tell of the call? UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE
 * and DATA_LOSS do (linkerd2-proxy, classify).
 */
export function isGrpcServerFault(status: number): boolean {
  return status === 2 || status === 4 || status === 13 || status === 14 || status === 15;
}
