import { ProxyError } from "../errors/proxy-error.js";

/** Which message broke the rules: the error code, and so the status, follows from it. */
export type MessageKind = "request" | "response";

/** The error of a message that is not HTTP/1.x as RFC 9112 has it. */
export function malformed(kind: MessageKind, detail: string): ProxyError {
  return new ProxyError(kind === "request" ? "malformed_request" : "upstream_protocol_error", detail);
}

/** The error of a head or trailer section over its limit. */
export function tooLarge(kind: MessageKind, detail: string): ProxyError {
  return new ProxyError(
    kind === "request" ? "request_headers_too_large" : "upstream_headers_too_large",
    detail,
  );
}
