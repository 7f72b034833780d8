import { status, type sendUnaryData, type ServerUnaryCall } from "@grpc/grpc-js";
import path from "node:path";
import { parseSpiffeId, type SpiffeId } from "../../certs/spiffe-id.js";
import { keepConnectIdentity } from "../../src/consul/connect-identity.js";
import {
  consulControlPlaneName,
  type IssueRequest,
  type IssueResponse,
} from "../../src/discovery/proto/enrollment.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { RenewalEvent } from "../../src/identity/renewal.js";
import type { CertificateSource, Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import type { ConsulSettings } from "../settings.js";
import type { Logger } from "../telemetry/log.js";
import { publishTrust, type OwnRoots, type TrustPublisher } from "./trust-source.js";

/** Consul's mesh CA in place of ours: it issues, renews and rotates, and the control plane is a service of it. */
export interface ConsulCa {
  /** Of the control plane's own certificate, and so of all. */
  readonly mesh: Pick<SpiffeId, "trustDomain" | "datacenter">;
  readonly certificates: CertificateSource;
  /** Serials of leaves that count no more; Consul's CA knows none. */
  readonly revoked: LatestValue<ReadonlySet<string>>;
  /** PEM roots of other meshes, by trust domain. */
  readonly federated: LatestValue<ReadonlyMap<string, string>>;
  readonly trust: TrustPublisher;
  close(): void;
}

/** A service manager gives a start this long at least. */
const waitMs = 24_000;

/**
 * The control plane's identity of Consul's CA; kept in the data folder, so that it starts without Consul too.
 *
 * @throws ConfigError Consul is not set, does not answer, or gives the token no certificate.
 */
export async function startConsulCa(options: {
  readonly consul: ConsulSettings | undefined;
  readonly dataDir: string;
  /** JWK sets by trust domain, to be pushed with the roots. */
  readonly jwtKeys: LatestValue<ReadonlyMap<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onEvent: (event: RenewalEvent) => void;
}): Promise<ConsulCa> {
  const { consul, dataDir, jwtKeys, clock, log, onEvent } = options;
  if (consul === undefined)
    throw new ConfigError("consul needs an agent: give --consul URL", { place: "--ca" });
  const { source: certificates, close: endIdentity } = await keepConnectIdentity({
    agent: consul,
    service: consulControlPlaneName,
    stateDir: path.join(dataDir, "consul-ca"),
    waitMs,
    clock,
    onWaiting: (reason) => log.warn({ reason }, "waiting for Consul's CA"),
    onEvent,
    onSaveFailed: (error) => log.error({ err: error }, "the control plane's certificate could not be saved"),
  });
  const { trustDomain, datacenter } = parseSpiffeId(certificates.get()?.id ?? "");
  const revoked = new LatestValue<ReadonlySet<string>>(new Set());
  const federated = new LatestValue<ReadonlyMap<string, string>>(new Map());
  const roots = new LatestValue(rootsOf(certificates.get()));
  const stop = certificates.watch((svid) => roots.set(rootsOf(svid)));
  const trust = publishTrust({ trustDomain, roots, revoked, federated, jwtKeys });
  return {
    mesh: { trustDomain, datacenter },
    certificates,
    revoked,
    federated,
    trust,
    close: () => {
      stop();
      trust.close();
      endIdentity();
    },
  };
}

/** Any leaf will do: it is the agents that renew after a rotation. */
function rootsOf(svid: Svid | undefined): OwnRoots {
  return { bundlePem: svid?.bundlePem ?? "", issuer: undefined };
}

/** Answers whoever wants to join that it is done elsewhere. */
export const consulEnrollment = {
  Issue(_call: ServerUnaryCall<IssueRequest, IssueResponse>, callback: sendUnaryData<IssueResponse>): void {
    const details = "this mesh's CA is Consul's: start the sidecar with --ca consul and --consul URL";
    callback({ code: status.FAILED_PRECONDITION, details });
  },
};
