import { messageOf } from "../../src/errors/message-of.js";
import { status } from "@grpc/grpc-js";
import type { sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";
import { CertificateError } from "../../certs/certificate-error.js";
import { parseCsr } from "../../certs/csr.js";
import type { IssueRequest, IssueResponse } from "../../src/discovery/proto/enrollment.js";
import { controlPlaneName } from "../../src/discovery/proto/enrollment.js";
import type { Clock } from "../../src/time/clock.js";
import type { PeerOf } from "../peer.js";
import { createCallRate } from "./call-rate.js";
import { IssueError, type Caller, type Issuer } from "./issuer.js";
import { redemptionRefusalTexts, type JoinTokens } from "./join-tokens.js";

export interface EnrollmentOptions {
  readonly issuer: Issuer;
  readonly tokens: JoinTokens;
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
      readonly notAfterMs: number;
    }
  | { readonly kind: "refused"; readonly address: string; readonly reason: string };

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
  const { issuer, tokens, peerOf, clock, onEvent } = options;
  const joins = createCallRate(joinsPerSecond);

  const join = async (call: IssueCall, address: string): Promise<Caller> => {
    const { csrPem, token } = call.request;
    if (!joins.take(address, clock.monotonicMs())) {
      const text = `more than ${joinsPerSecond} joins a second from ${address}: try again in a second`;
      throw new Refusal(status.RESOURCE_EXHAUSTED, text);
    }
    parseCsr(csrPem); // first, so that a broken request does not use the token up
    return redeem(tokens, token);
  };
  const issue = async (call: IssueCall): Promise<IssueResponse> => {
    const { identity, address } = peerOf(call);
    const by = call.request.token === "" ? "certificate" : "token";
    if (by === "certificate" && identity === undefined) {
      const text = "neither a join token nor a client certificate: create a token with remora token create";
      throw new Refusal(status.UNAUTHENTICATED, text);
    }
    const caller = by === "token" || identity === undefined ? await join(call, address) : identity;
    const { certChainPem, bundlePem, notAfterMs } = issuer.issue(caller, call.request.csrPem);
    onEvent({ kind: "issued", caller, address, by, notAfterMs });
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

async function redeem(tokens: JoinTokens, text: string): Promise<Caller> {
  const redemption = await tokens.redeem(text);
  if (redemption.refused !== undefined)
    throw new Refusal(status.UNAUTHENTICATED, redemptionRefusalTexts[redemption.refused]);
  const { service, namespace } = redemption;
  if (service === controlPlaneName.service && namespace === controlPlaneName.namespace)
    throw new Refusal(status.PERMISSION_DENIED, "the control plane's own name cannot join");
  return { service, namespace };
}

function toStatus(error: unknown): { readonly code: status; readonly details: string } {
  if (error instanceof Refusal) return { code: error.code, details: error.message };
  if (error instanceof CertificateError) return { code: status.INVALID_ARGUMENT, details: error.message };
  if (error instanceof IssueError) return { code: issueStatus[error.code], details: error.message };
  const text = messageOf(error);
  return { code: status.INTERNAL, details: `the control plane failed: ${text}` };
}

const issueStatus: Readonly<Record<IssueError["code"], status>> = {
  bad_request: status.INVALID_ARGUMENT,
  rate_limited: status.RESOURCE_EXHAUSTED,
  ca_expired: status.FAILED_PRECONDITION,
};
