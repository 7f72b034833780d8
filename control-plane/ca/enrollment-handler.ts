import { messageOf } from "../../src/errors/message-of.js";
import { Metadata, status } from "@grpc/grpc-js";
import type { sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";
import { CertificateError } from "../../certs/certificate-error.js";
import { isServiceName } from "../../certs/spiffe-id.js";
import type { IssueRequest, IssueResponse } from "../../src/discovery/proto/enrollment.js";
import { controlPlaneName, keyTypeField } from "../../src/discovery/proto/enrollment.js";
import type { Clock } from "../../src/time/clock.js";
import type { Peer, PeerOf } from "../peer.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { revokedText } from "../require-identity.js";
import { createCallRate } from "./call-rate.js";
import type { ConsulProof } from "./consul-proof.js";
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
  /** undefined: no Consul is in use, and no ACL token a proof. */
  readonly consul?: ConsulProof | undefined;
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
      readonly by: "token" | "certificate" | "consul";
      readonly serial: string;
      readonly notAfterMs: number;
    }
  | { readonly kind: "refused"; readonly address: string; readonly reason: string };

/** Whom a request proved to be, and by what. */
interface Proven {
  readonly caller: Caller;
  readonly by: "token" | "certificate" | "consul";
  /** As the log has it. */
  readonly proof: string;
  /** What is revoked later makes the proof void: an ACL token proves since it was made, all else since it was shown. */
  readonly provenMs: number;
  /** Of a token that is good for several uses. */
  readonly giveBack?: () => Promise<void>;
}

/** By what was shown: it is older than the last time that certificates of its service were revoked. */
const evictedTexts: Readonly<Record<Proven["by"], string>> = {
  token: redemptionRefusalTexts.void,
  certificate:
    "the service's certificates were revoked, and what was renewed from them: a new join token is needed",
  consul:
    "the ACL token is older than the last time that certificates of its service were revoked: make a new one in Consul",
};

type IssueCall = ServerUnaryCall<IssueRequest, IssueResponse>;

/** Joins from one address: a rack that starts at once fits, a flood does not eat the CPU. SPIRE allows 1/s. */
const joinsPerSecond = 1;
const joinsAtOnce = 60;
/** Renewals of one service from one address. A sidecar renews twice a day; a test that rotates every 2 s must fit too. */
const renewalsPerSecond = 10;

/** Where the instances of Consul's catalog are. */
const consulNamespace = "default";

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
  const joins = createCallRate(joinsPerSecond, joinsAtOnce);
  const renewals = createCallRate(renewalsPerSecond);

  const join = async ({ request }: IssueCall, address: string): Promise<Proven> => {
    if (!joins.take(address, clock.monotonicMs())) {
      const text = `more than ${joinsAtOnce} joins at once from ${address}: one a second goes on`;
      throw new Refusal(status.RESOURCE_EXHAUSTED, text);
    }
    issuer.check(request.csrPem); // first, so that a broken request does not use the token up
    if (request.token !== "") return redeem(tokens, request.token, clock);
    return askConsul(options, request);
  };
  const prove = async (call: IssueCall, peer: Peer): Promise<Proven> => {
    const { token, consulToken = "" } = call.request;
    if (token !== "" || consulToken !== "") return join(call, peer.address);
    const { id, identity, certificateSerial, address } = peer;
    if (identity === undefined || certificateSerial === undefined) {
      const text = "neither a join token nor a client certificate: create a token with remora token create";
      throw new Refusal(status.UNAUTHENTICATED, text);
    }
    if (!renewals.take(`${id} ${address}`, clock.monotonicMs())) {
      const text = `${id} asks for more than ${renewalsPerSecond} certificates a second from ${address}: ask again in a second`;
      throw new Refusal(status.RESOURCE_EXHAUSTED, text);
    }
    return { caller: identity, by: "certificate", proof: certificateSerial, provenMs: clock.wallMs() };
  };
  /** Asked again once the certificate is in the log: what is revoked from then on finds it there. */
  const refuseRevoked = ({ caller, by, proof, provenMs }: Proven): void => {
    if (by === "certificate" && revocations.serials.get().has(proof))
      throw new Refusal(status.UNAUTHENTICATED, revokedText(proof));
    if ((revocations.evictedAtMs(caller) ?? -Infinity) >= provenMs)
      throw new Refusal(status.UNAUTHENTICATED, evictedTexts[by]);
  };
  const issue = async (call: IssueCall, peer: Peer): Promise<IssueResponse> => {
    const { address } = peer;
    const proven = await prove(call, peer);
    try {
      refuseRevoked(proven);
      const { caller, by, proof } = proven;
      const issued = issuer.issue(caller, call.request.csrPem);
      const entry = entryOf(issued, { by, proof, address }, clock.wallMs());
      await log.append(entry);
      try {
        refuseRevoked(proven);
      } catch (refusal: unknown) {
        // Nobody will ever have it; the log says that it was made, so it is said to be revoked, too.
        const { serial, id } = entry;
        const reason = "its service was revoked while it was made";
        await revocations.add([{ serial, id, notAfterMs: issued.notAfterMs, atMs: clock.wallMs(), reason }]);
        throw refusal;
      }
      const { certChainPem, bundlePem, notAfterMs, serial } = issued;
      onEvent({ kind: "issued", caller, address, by, serial, notAfterMs });
      return { certChainPem, bundlePem };
    } catch (error: unknown) {
      // Nothing came of it: a token that is good shall still be.
      await proven.giveBack?.().catch(() => undefined);
      throw error;
    }
  };

  return {
    Issue(call, callback) {
      const peer = peerOf(call);
      issue(call, peer).then(
        (answer) => callback(null, answer),
        (error: unknown) => {
          const { code, details } = toStatus(error);
          onEvent({ kind: "refused", address: peer.address, reason: details });
          callback({ code, details, metadata: wishOf(issuer, error) });
        },
      );
    },
  };
}

async function redeem(tokens: JoinTokens, text: string, clock: Clock): Promise<Proven> {
  const provenMs = clock.wallMs();
  const redemption = await tokens.redeem(text);
  if (redemption.refused !== undefined)
    throw new Refusal(status.UNAUTHENTICATED, redemptionRefusalTexts[redemption.refused]);
  const { service, namespace, tokenId, giveBack } = redemption;
  refuseOwnName({ service, namespace });
  return { caller: { service, namespace }, by: "token", proof: tokenId, provenMs, giveBack };
}

/** The bearer of an ACL token is who it wants to be if the token may write that service. */
async function askConsul({ consul }: EnrollmentOptions, request: IssueRequest): Promise<Proven> {
  const { consulToken = "", service = "", namespace = "" } = request;
  if (consul === undefined)
    throw new Refusal(status.FAILED_PRECONDITION, "this control plane has no Consul: join with a token");
  if (!isServiceName(service) || !isServiceName(namespace))
    throw new Refusal(status.INVALID_ARGUMENT, "the request names no service");
  // Consul's catalog is all in one namespace of ours; rights in it say nothing about others.
  if (namespace !== consulNamespace)
    throw new Refusal(status.PERMISSION_DENIED, `an ACL token is for namespace ${consulNamespace} only`);
  refuseOwnName({ service, namespace });
  const verdict = await consul.check(consulToken, service);
  if (verdict.refused !== undefined)
    throw new Refusal(
      verdict.isConsulAway ? status.FAILED_PRECONDITION : status.UNAUTHENTICATED,
      verdict.refused,
    );
  const { accessor: proof, createdAtMs: provenMs } = verdict;
  return { caller: { service, namespace }, by: "consul", proof, provenMs };
}

function refuseOwnName({ service, namespace }: Caller): void {
  if (service === controlPlaneName.service && namespace === controlPlaneName.namespace)
    throw new Refusal(status.PERMISSION_DENIED, "the control plane's own name cannot join");
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

/** With which kind of key the caller may come again. */
function wishOf({ keyType }: Issuer, error: unknown): Metadata {
  const metadata = new Metadata();
  if (error instanceof IssueError && error.code === "wrong_key_type" && keyType !== undefined)
    metadata.set(keyTypeField, keyType);
  return metadata;
}

const issueStatus: Readonly<Record<IssueError["code"], status>> = {
  bad_request: status.INVALID_ARGUMENT,
  wrong_key_type: status.FAILED_PRECONDITION,
  rate_limited: status.RESOURCE_EXHAUSTED,
  ca_expired: status.FAILED_PRECONDITION,
};
