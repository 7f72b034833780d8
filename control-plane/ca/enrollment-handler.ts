import { messageOf } from "../../src/errors/message-of.js";
import { status } from "@grpc/grpc-js";
import type { sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCsr } from "../../certs/csr.js";
import type { IssueRequest, IssueResponse } from "../../src/discovery/proto/enrollment.js";
import { controlPlaneName } from "../../src/discovery/proto/enrollment.js";
import type { Clock } from "../../src/time/clock.js";
import type { Peer, PeerOf } from "../peer.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { revokedText } from "../require-identity.js";
import { createCallRate } from "./call-rate.js";
import { entryOf, type IssuanceLog } from "./issuance-log.js";
import { IssueError, type Caller, type Issuer } from "./issuer.js";
import { redemptionRefusalTexts, type JoinTokens } from "./join-tokens.js";
import type { Revocations } from "./revocations.js";

export interface EnrollmentOptions {
  readonly issuer: Issuer;
  readonly tokens: JoinTokens;
  /** Every certificate is in it before its owner has it. */
  readonly log: IssuanceLog;
  readonly revocations: Revocations;
  readonly peerOf: PeerOf;
  readonly clock: Clock;
  readonly onEvent: (event: EnrollmentEvent) => void;
}

/** For logs and metrics; never holds a token. */
export type EnrollmentEvent =
  | {
      readonly kind: "issued";
      readonly caller: Caller;
      readonly address: string;
      readonly by: "token" | "certificate";
      readonly serial: string;
      readonly notAfterMs: number;
    }
  | { readonly kind: "refused"; readonly address: string; readonly reason: string };

/** Whom a request proved to be, and by what. */
interface Proven {
  readonly caller: Caller;
  readonly by: "token" | "certificate";
  /** As the log has it. */
  readonly proof: string;
}

type IssueCall = ServerUnaryCall<IssueRequest, IssueResponse>;

/** Joins from one address, per second: a rack that starts at once fits, a flood does not eat the CPU. */
const joinsPerSecond = 20;

class Refusal extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** The implementation of `remora.v1.Enrollment`: who the caller is decides what it gets, never what its CSR says. */
export function createEnrollmentHandler(options: EnrollmentOptions): {
  readonly Issue: (call: IssueCall, callback: sendUnaryData<IssueResponse>) => void;
} {
  const { issuer, tokens, log, revocations, peerOf, clock, onEvent } = options;
  const joins = createCallRate(joinsPerSecond);

  const join = async (call: IssueCall, address: string): Promise<Proven> => {
    const { csrPem, token } = call.request;
    if (!joins.take(address, clock.monotonicMs())) {
      const text = `more than ${joinsPerSecond} joins a second from ${address}: try again in a second`;
      throw new Refusal(status.RESOURCE_EXHAUSTED, text);
    }
    parseCsr(csrPem); // first, so that a broken request does not use the token up
    return redeem(tokens, token);
  };
  const prove = async (call: IssueCall, peer: Peer): Promise<Proven> => {
    if (call.request.token !== "") return join(call, peer.address);
    if (peer.identity === undefined || peer.certificateSerial === undefined) {
      const text = "neither a join token nor a client certificate: create a token with remora token create";
      throw new Refusal(status.UNAUTHENTICATED, text);
    }
    return { caller: peer.identity, by: "certificate", proof: peer.certificateSerial };
  };
  /** Asked again once the certificate is in the log: what is revoked from then on finds it there. */
  const refuseRevoked = ({ caller, by, proof }: Proven, askedAtMs: number): void => {
    if (by === "certificate" && revocations.serials.get().has(proof))
      throw new Refusal(status.UNAUTHENTICATED, revokedText(proof));
    if ((revocations.evictedAtMs(caller) ?? -Infinity) >= askedAtMs)
      throw new Refusal(status.UNAUTHENTICATED, redemptionRefusalTexts.void);
  };
  const issue = async (call: IssueCall): Promise<IssueResponse> => {
    const peer = peerOf(call);
    const { address } = peer;
    const askedAtMs = clock.wallMs();
    const proven = await prove(call, peer);
    refuseRevoked(proven, askedAtMs);
    const { caller, by, proof } = proven;
    const issued = issuer.issue(caller, call.request.csrPem);
    await log.append(entryOf(issued, { by, proof, address }, clock.wallMs()));
    refuseRevoked(proven, askedAtMs);
    const { certChainPem, bundlePem, notAfterMs, serial } = issued;
    onEvent({ kind: "issued", caller, address, by, serial, notAfterMs });
    return { certChainPem, bundlePem };
  };

  return {
    Issue(call, callback) {
      issue(call).then(
        (answer) => callback(null, answer),
        (error: unknown) => {
          const { code, details } = toStatus(error);
          onEvent({ kind: "refused", address: peerOf(call).address, reason: details });
          callback({ code, details });
        },
      );
    },
  };
}

async function redeem(tokens: JoinTokens, text: string): Promise<Proven> {
  const redemption = await tokens.redeem(text);
  if (redemption.refused !== undefined)
    throw new Refusal(status.UNAUTHENTICATED, redemptionRefusalTexts[redemption.refused]);
  const { service, namespace, tokenId } = redemption;
  if (service === controlPlaneName.service && namespace === controlPlaneName.namespace)
    throw new Refusal(status.PERMISSION_DENIED, "the control plane's own name cannot join");
  return { caller: { service, namespace }, by: "token", proof: tokenId };
}

function toStatus(error: unknown): { readonly code: status; readonly details: string } {
  if (error instanceof Refusal) return { code: error.code, details: error.message };
  if (error instanceof CertificateError) return { code: status.INVALID_ARGUMENT, details: error.message };
  if (error instanceof IssueError) return { code: issueStatus[error.code], details: error.message };
  const text = messageOf(error);
  if (error instanceof ConfigError)
    return { code: status.RESOURCE_EXHAUSTED, details: `no certificate is issued: ${text}` };
  return { code: status.INTERNAL, details: `the control plane failed: ${text}` };
}

const issueStatus: Readonly<Record<IssueError["code"], status>> = {
  bad_request: status.INVALID_ARGUMENT,
  rate_limited: status.RESOURCE_EXHAUSTED,
  ca_expired: status.FAILED_PRECONDITION,
};
