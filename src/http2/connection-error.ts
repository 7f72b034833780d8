import { errorCode } from "./frame.js";
import type { Http2Limit } from "./limits.js";

/** The peer broke a rule in a way that the connection cannot survive (RFC 9113 §5.4.1). Thrown by whoever reads frames. */
export class Http2ConnectionError extends Error {
  override readonly name = "Http2ConnectionError";
  /** Error code of the GOAWAY. */
  readonly code: number;
  readonly limit: Http2Limit;

  constructor(code: number, limit: Http2Limit, message: string) {
    super(message);
    this.code = code;
    this.limit = limit;
  }
}

/** A frame where or how it must not be (RFC 9113 §5.4.1: PROTOCOL_ERROR). */
export function violation(message: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.protocolError, "protocol_error", message);
}

/** A frame of this type, named for the text, has a size that it cannot have (RFC 9113 §4.2). */
export function wrongSize(type: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.frameSizeError, "frame_size_error", `${type}: wrong size`);
}

/** Flow control was broken, for the whole connection (RFC 9113 §6.9.1). */
export function overWindow(message: string): Http2ConnectionError {
  return new Http2ConnectionError(errorCode.flowControlError, "flow_control_error", message);
}
