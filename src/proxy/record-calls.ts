import type { CallRecorder } from "../policy/call-recorder.js";
import type { Layer } from "../stack/service.js";

/** Outside of authorization, inside of what makes the target canonical: notes who called what, and what was said to it. */
export function recordCalls(recorder: CallRecorder): Layer {
  return (inner) => ({
    call(request, reply) {
      // Layers inside may rewrite both.
      const { method, target, upgrade } = request.head;
      const call = inner.call(request, reply);
      const caller = request.peerId ?? "";
      if (upgrade === "tcp") recorder.record(caller, "", "", "tcp", "allow", "");
      else recorder.record(caller, method, target, request.isGrpc ? "grpc" : "http", "allow", "");
      return call;
    },
  });
}
