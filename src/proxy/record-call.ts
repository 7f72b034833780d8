import type { CallRecorder, CallVerdict } from "../policy/call-recorder.js";
import type { RequestContext } from "../stack/request-context.js";

/** Notes who called what, and what was said to it. The target must be canonical. */
export function recordCall(
  recorder: CallRecorder,
  request: RequestContext,
  verdict: CallVerdict,
  rule: string,
): void {
  const { method, target, upgrade } = request.head;
  const caller = request.peerId ?? "";
  if (upgrade === "tcp") recorder.record(caller, "", "", "tcp", verdict, rule);
  else recorder.record(caller, method, target, request.isGrpc ? "grpc" : "http", verdict, rule);
}
