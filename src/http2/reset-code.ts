import type { ProxyError } from "../errors/proxy-error.js";
import { errorCode } from "./frame.js";

/** What RST_STREAM tells a client whose response cannot be completed for this reason (RFC 9113 §7). */
export function resetCode(error: ProxyError): number {
  switch (error.code) {
    case "malformed_request":
      return errorCode.protocolError;
    case "client_gone":
    case "attempt_timeout":
    case "route_timeout":
    case "stream_idle_timeout":
      return errorCode.cancel;
    default:
      // Never a code that lets the client send the request again: it has seen a part of the response.
      return errorCode.internalError;
  }
}
