import { ProxyError } from "../errors/proxy-error.js";

/** Longer than any registered method; what is longer, nobody implements (RFC 9112 §3: 501). */
const maxMethodLength = 32;

/** Refuses methods that are not forwarded, whatever they came by. Throws ProxyError. The caller has seen that it is a token. */
export function refuseMethod(method: string): void {
  // A tunnel around all policies, and an echo of what the mesh added (RFC 9110 §9.3.6, §9.3.8).
  if (method === "CONNECT" || method === "TRACE" || method.length > maxMethodLength) {
    throw new ProxyError("method_not_supported", "this method is not forwarded");
  }
  // Rules are written for GET; a lenient application would take "get" for the same (RFC 9110 §9.1: case-sensitive, and by
  // convention upper case).
  if (/[a-z]/.test(method)) throw new ProxyError("method_not_supported", "methods are upper case");
  // The HTTP/2 preface never comes with version 1.1 (RFC 9113 §3.4).
  if (method === "PRI") throw new ProxyError("malformed_request", "method reserved for HTTP/2");
}
