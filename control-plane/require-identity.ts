import { ResponderBuilder, ServerInterceptingCall, ServerListenerBuilder, status } from "@grpc/grpc-js";
import type { ServerInterceptor } from "@grpc/grpc-js";
import type { LatestValue } from "../src/lifecycle/latest-value.js";
import type { Peer, PeerOf } from "./peer.js";

/** What whoever holds a revoked certificate is told. */
export const revokedText = (serial: string): string =>
  `certificate ${serial} was revoked: a new join token is needed (remora token create, --token-file)`;

/**
 * Refuses every call on a connection without a verified client certificate, or with a revoked one, except to `openPaths`:
 * a service that is added later is closed unless somebody opens it here.
 */
export function requireIdentity(
  peerOf: PeerOf,
  openPaths: readonly string[],
  revoked: LatestValue<ReadonlySet<string>>,
): ServerInterceptor {
  const refusal = ({ id, certificateSerial }: Peer): string | undefined => {
    if (id === undefined || certificateSerial === undefined)
      return "a client certificate is needed: join with remora token create and --token-file";
    return revoked.get().has(certificateSerial) ? revokedText(certificateSerial) : undefined;
  };
  return (method, call) => {
    if (openPaths.includes(method.path)) return new ServerInterceptingCall(call);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        const details = refusal(peerOf(call));
        if (details === undefined) return next(metadata);
        call.sendStatus({ code: status.UNAUTHENTICATED, details });
      })
      .build();
    return new ServerInterceptingCall(
      call,
      new ResponderBuilder().withStart((next) => next(listener)).build(),
    );
  };
}
