import { ProxyError } from "../errors/proxy-error.js";
import type { Http2Limits } from "./limits.js";

/** What reading and writing heads depends on. */
export interface HeadOptions {
  readonly limits: Http2Limits;
  /** An mTLS hop between sidecars: letter case of names is carried along. */
  readonly isMesh: boolean;
}

/** The error of a message that RFC 9113 §8 calls malformed. */
export function malformed(kind: "request" | "response", detail: string): ProxyError {
  return new ProxyError(kind === "request" ? "malformed_request" : "upstream_protocol_error", detail);
}
