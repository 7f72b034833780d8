import { status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import { signJwtSvid } from "../../certs/jwt-svid.js";
import type { IssueJwtRequest, IssueJwtResponse } from "../../src/discovery/proto/jwt-svids.js";
import { messageOf } from "../../src/errors/message-of.js";
import type { Clock } from "../../src/time/clock.js";
import type { PeerOf } from "../peer.js";
import { createCallRate } from "./call-rate.js";
import type { JwtKeys } from "./jwt-keys.js";

export interface JwtHandlerOptions {
  readonly keys: Pick<JwtKeys, "signer">;
  /** Life of a token. */
  readonly ttlMs: number;
  readonly peerOf: PeerOf;
  readonly clock: Clock;
  readonly onIssued: (id: string, audience: readonly string[]) => void;
}

type IssueCall = ServerUnaryCall<IssueJwtRequest, IssueJwtResponse>;

/** A sidecar keeps tokens for half of their life: more is an application that makes audiences up. */
const callsPerSecond = 20;
const maxAudiences = 16;
const maxAudienceLength = 1024;

/** The implementation of `remora.v1.JwtSvids`: a token for whoever the client certificate says is asking. */
export function createJwtHandler(options: JwtHandlerOptions): {
  readonly Issue: (call: IssueCall, callback: sendUnaryData<IssueJwtResponse>) => void;
} {
  const { keys, ttlMs, peerOf, clock, onIssued } = options;
  const rate = createCallRate(callsPerSecond);
  return {
    Issue(call, callback) {
      const { id } = peerOf(call);
      const { audience } = call.request;
      const refuse = (code: status, details: string): void => callback({ code, details });
      if (id === undefined) return refuse(status.UNAUTHENTICATED, "a client certificate is needed");
      if (!rate.take(id, clock.monotonicMs()))
        return refuse(
          status.RESOURCE_EXHAUSTED,
          `${id} asks for more than ${callsPerSecond} tokens a second: ask again in a second`,
        );
      if (!isAudience(audience))
        return refuse(
          status.INVALID_ARGUMENT,
          `audience: 1 to ${maxAudiences} texts of 1 to ${maxAudienceLength} characters`,
        );
      let token: string;
      try {
        token = signJwtSvid(keys.signer(), { id, audience, nowMs: clock.wallMs(), ttlMs });
      } catch (error: unknown) {
        return refuse(status.INTERNAL, `the control plane failed: ${messageOf(error)}`);
      }
      onIssued(id, audience);
      callback(null, { token, lifeSeconds: Math.floor(ttlMs / 1000) });
    },
  };
}

function isAudience(audience: readonly string[]): boolean {
  return (
    audience.length > 0 &&
    audience.length <= maxAudiences &&
    audience.every((one) => one !== "" && one.length <= maxAudienceLength)
  );
}
