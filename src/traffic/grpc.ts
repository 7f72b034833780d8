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
