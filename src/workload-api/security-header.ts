import { ResponderBuilder, ServerInterceptingCall, ServerListenerBuilder, status } from "@grpc/grpc-js";
import type { ServerInterceptor } from "@grpc/grpc-js";
import { securityHeader } from "./protocol.js";

/** Refuses every call without the security header, as Workload Endpoint §3 and §6 demand. */
export const requireSecurityHeader: ServerInterceptor = (_method, call) => {
  const listener = new ServerListenerBuilder()
    .withOnReceiveMetadata((metadata, next) => {
      const values = metadata.get(securityHeader.name);
      if (values.length === 1 && values[0] === securityHeader.value) return next(metadata);
      call.sendStatus({
        code: status.INVALID_ARGUMENT,
        details: `the request lacks the metadata ${securityHeader.name}: ${securityHeader.value}`,
      });
    })
    .build();
  const responder = new ResponderBuilder().withStart((next) => next(listener)).build();
  return new ServerInterceptingCall(call, responder);
};
