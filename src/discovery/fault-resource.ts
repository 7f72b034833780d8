import type { FaultAbort, FaultConfig } from "../config/fault-config.js";
import { duration, type Fields } from "./fields.js";
import { decodeValueMatch, encodeValueMatch } from "./route-match.js";

/** A fault as the message Fault of remora.proto. */
export function encodeFault({ delay, abort, headers, expiresMs, source }: FaultConfig): object {
  return {
    source,
    expiresMs,
    headers: headers.map(encodeValueMatch),
    ...(delay !== undefined && { delay: { fixed: duration(delay.fixedMs), percent: delay.percent } }),
    ...(abort !== undefined && { abort }),
  };
}

/** Throws ConfigError. */
export function decodeFault(fields: Fields): FaultConfig {
  const delay = fields.optionalMessage("delay");
  const abort = fields.optionalMessage("abort");
  return {
    ...(delay !== undefined && {
      delay: { fixedMs: delay.durationMs("fixed"), percent: delay.number("percent", 0, 100) },
    }),
    ...(abort !== undefined && { abort: decodeAbort(abort) }),
    headers: fields.messages("headers").map(decodeValueMatch),
    expiresMs: fields.number("expiresMs", 0, Number.MAX_SAFE_INTEGER),
    source: fields.string("source"),
  };
}

/** An absent status is 0 in proto3. */
function decodeAbort(fields: Fields): FaultAbort {
  const status = fields.number("status", 0, 599);
  const grpcStatus = fields.number("grpcStatus", 0, 16);
  return {
    ...(status !== 0 && { status }),
    ...(grpcStatus !== 0 && { grpcStatus }),
    percent: fields.number("percent", 0, 100),
  };
}
