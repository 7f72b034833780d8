import { createCsr } from "../../certs/csr.js";
import { generateKeyPem } from "../../certs/keys.js";
import { controlPlaneName } from "../../src/discovery/proto/enrollment.js";
import { assembleSvid } from "../../src/identity/assemble-svid.js";
import { startRenewal, type RenewalEvent } from "../../src/identity/renewal.js";
import type { CertificateSource, Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import { entryOf, type IssuanceLog } from "./issuance-log.js";
import type { Issuer } from "./issuer.js";

export interface OwnIdentity {
  readonly certificates: CertificateSource;
  /** Another CA signs now: a new certificate of it at once. */
  renewNow(): void;
  close(): void;
}

/**
 * The control plane's own certificate, issued by its own CA and renewed like any other. It lives in memory only. Its chain
 * ends with the root, so that a joining sidecar finds there what its token's fingerprint vouches for.
 */
export async function startOwnIdentity(
  issuer: Issuer,
  log: IssuanceLog,
  clock: Clock,
  onEvent: (event: RenewalEvent) => void,
): Promise<OwnIdentity> {
  const certificates: CertificateSource = new LatestValue<Svid | undefined>(
    await issueOwn(issuer, log, clock),
  );
  const renewal = startRenewal({
    source: certificates,
    renew: () => issueOwn(issuer, log, clock),
    clock,
    onEvent,
  });
  return { certificates, renewNow: () => renewal.hasten(0), close: () => renewal.close() };
}

async function issueOwn(issuer: Issuer, log: IssuanceLog, clock: Clock): Promise<Svid> {
  const keyPem = await generateKeyPem(issuer.keyType);
  const issued = issuer.issue(controlPlaneName, createCsr(keyPem));
  const proof = { by: "control-plane", proof: "", address: "" } as const;
  await log.append(entryOf(issued, proof, clock.wallMs()));
  const { certChainPem, rootPem, bundlePem } = issued;
  return assembleSvid({ certChainPem: `${certChainPem}${rootPem}`, keyPem, bundlePem });
}
