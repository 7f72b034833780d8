import type { ProxyError } from "../errors/proxy-error.js";
import type { LocalReply, RequestHead } from "../traffic/message.js";
import { isGrpc } from "../traffic/grpc.js";

/**
 * The reply that tells a caller what went wrong (docs/errors.md): one line for people, `x-remora-error` for programs,
 * trailers-only for gRPC. null when nobody is left to be told.
 */
export function errorReply(error: ProxyError, request?: RequestHead): LocalReply | null {
  const row = error.row;
  if (error.status === 0) return null;
  const text = oneLine(`${row.text}: ${error.detail}`);
  if (request !== undefined && isGrpc(request.headers)) return grpcReply(error, text);
  const body = Buffer.from(`${text}\n`);
  const headers = [
    "content-type",
    "text/plain",
    "content-length",
    `${body.length}`,
    "x-remora-error",
    error.code,
    ...error.headers,
  ];
  return {
    head: { status: error.status, reason: "", version: "1.1", headers },
    body,
  };
}

/** Operators grep for it line by line. Control characters may come with an operating system's or a library's text. */
function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]+/g, " ").trimEnd();
}

/** gRPC over HTTP2, Percent-Encoded: everything but visible ASCII, space, and "%". */
function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** gRPC over HTTP2, "Trailers-Only": status 200, the outcome in the head, no body. */
function grpcReply(error: ProxyError, text: string): LocalReply {
  const headers = ["content-type", "application/grpc", "grpc-status", `${error.row.grpcStatus}`];
  headers.push("grpc-message", percentEncoded(text), "x-remora-error", error.code, ...error.headers);
  return { head: { status: 200, reason: "", version: "1.1", headers }, body: Buffer.alloc(0) };
}
