import type { ProxyError } from "../errors/proxy-error.js";
import type { LocalReply, RequestHead } from "../traffic/message.js";
import { isGrpc } from "../traffic/grpc.js";
import { grpcStatusReply } from "../traffic/grpc-status-reply.js";

/**
 * The reply that tells a caller what went wrong (docs/errors.md): one line for people, `x-remora-error` for programs,
 * trailers-only for gRPC. null when nobody is left to be told.
 */
export function errorReply(error: ProxyError, request?: RequestHead): LocalReply | null {
  const row = error.row;
  if (error.status === 0) return null;
  const text = oneLine(error.detail === "" ? row.text : `${row.text}: ${error.detail}`);
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

/** Trailers-only. */
function grpcReply(error: ProxyError, text: string): LocalReply {
  const head = grpcStatusReply(error.row.grpcStatus, text);
  head.headers.push("x-remora-error", error.code, ...error.headers);
  return { head, body: Buffer.alloc(0) };
}
