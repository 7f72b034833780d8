import { CertificateError } from "../../certs/certificate-error.js";
import { splitSpiffeUri } from "../../certs/spiffe-id.js";
import {
  maxCallsInReport,
  type CallReport,
  type ReportedCall,
} from "../../src/discovery/proto/observation.js";
import type { CallProtocol, CallVerdict, ObservedCall } from "../../src/policy/call-recorder.js";
import { other, pathShape } from "../../src/traffic/path-shape.js";

const protocols: readonly string[] = ["http", "grpc", "tcp"] satisfies CallProtocol[];
const verdicts: readonly string[] = ["allow", "deny", "audit"] satisfies CallVerdict[];

/** The calls of a report, or one line that says why it is none. Paths are folded again: the bound is ours to keep. */
export function readReport({ calls }: CallReport): readonly ObservedCall[] | string {
  if (calls.length > maxCallsInReport) return `more than ${maxCallsInReport} calls in a report`;
  const read: ObservedCall[] = [];
  for (const [index, reported] of calls.entries()) {
    const call = readCall(reported);
    if (typeof call === "string") return `calls[${index}].${call} is not acceptable`;
    read.push(call);
  }
  return read;
}

/** A call, or the name of the field that is wrong. */
export function readCall(call: ReportedCall): ObservedCall | string {
  const { caller, method, path, port, protocol, verdict, rule, count } = call;
  const isTcp = protocol === "tcp";
  if (!isCaller(caller)) return "caller";
  if (isTcp ? method !== "" : method !== other && !/^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$/.test(method))
    return "method";
  if (isTcp ? path !== "" : path !== other && !/^\/[\x21-\x7e]{0,1023}$/.test(path)) return "path";
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return "port";
  if (!protocols.includes(protocol)) return "protocol";
  if (!verdicts.includes(verdict)) return "verdict";
  if (!/^[\x20-\x7e]{0,512}$/.test(rule)) return "rule";
  if (!Number.isSafeInteger(count) || count < 1) return "count";
  return {
    ...{ caller, method, port, rule, count },
    path: isTcp ? "" : pathShape(path),
    protocol: protocol as CallProtocol,
    verdict: verdict as CallVerdict,
  };
}

function isCaller(text: string): boolean {
  if (text === "" || text === other) return true;
  try {
    splitSpiffeUri(text);
    return true;
  } catch (error: unknown) {
    if (error instanceof CertificateError) return false;
    throw error;
  }
}
