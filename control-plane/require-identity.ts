import { ResponderBuilder, ServerInterceptingCall, ServerListenerBuilder, status } from "@grpc/grpc-js";
import type { ServerInterceptor } from "@grpc/grpc-js";
import type { PeerOf } from "./peer.js";

/**
 * Refuses every call on a connection without a verified client certificate, except to `openPaths`: a service that is
 * added later is closed unless somebody opens it here.
 */
export function requireIdentity(peerOf: PeerOf, openPaths: readonly string[]): ServerInterceptor {
  return (method, call) => {
    if (openPaths.includes(method.path)) return new ServerInterceptingCall(call);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        if (peerOf(call).id !== undefined) return next(metadata);
        call.sendStatus({
          code: status.UNAUTHENTICATED,
          details: "a client certificate is needed: join with remora token create and --token-file",
        });
      })
      .build();
    return new ServerInterceptingCall(
      call,
      new ResponderBuilder().withStart((next) => next(listener)).build(),
    );
  };
}
