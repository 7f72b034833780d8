import { splitPemCertificates } from "../../certs/bundle.js";
import { parseCertificate } from "../../certs/certificate.js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import { ConfigError } from "../errors/config-error.js";
import { trustOfSvid, withBundle, type MeshTrust, type TrustSource } from "../identity/mesh-trust.js";
import type { Svid } from "../identity/svid.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import type { IdentityKeeper } from "./identity-keeper.js";
import { openTrustFile } from "./trust-file.js";

export interface TrustKeeper {
  readonly trust: TrustSource;
  /** Puts what the control plane says in force. Throws ConfigError, with everything as it was, when it cannot be. */
  apply(pushed: MeshTrust): void;
  /** Resolves when the newest is on disk. */
  close(): Promise<void>;
}

/**
 * Whom this sidecar believes, over its whole life: from the state directory, then as the control plane says. The roots of its
 * own trust domain stand in its identity too, since each certificate comes with them: both always hold what came last.
 */
export async function keepTrust(options: {
  readonly stateDir: string;
  /** Must hold an identity by now. */
  readonly identity: Pick<IdentityKeeper, "source" | "useBundle"> &
    Partial<Pick<IdentityKeeper, "renewSoon">>;
  /** Somebody else than the control plane says what the roots of our own trust domain are. */
  readonly hasOwnRoots?: boolean;
  readonly onProblem: (problem: string) => void;
}): Promise<TrustKeeper> {
  const { identity, stateDir, onProblem, hasOwnRoots = false } = options;
  const svid = identity.source.get();
  if (svid === undefined) throw new Error("no identity yet");
  const { trustDomain } = parseSpiffeId(svid.id);
  const file = openTrustFile(stateDir, onProblem);
  const saved = await file.load();
  const trust: TrustSource = new LatestValue<MeshTrust>(
    saved === undefined ? trustOfSvid(svid) : withOwn(saved, trustDomain, svid.bundlePem),
  );
  const stop = identity.source.watch((next) => {
    if (next === undefined) return;
    const now = withOwn(trust.get(), trustDomain, next.bundlePem);
    if (now !== trust.get()) trust.set(now);
  });
  return {
    trust,
    apply(told) {
      const pushed = hasOwnRoots
        ? withBundle(told, trustDomain, identity.source.get()?.bundlePem ?? "")
        : told;
      const own = pushed.bundles.get(trustDomain);
      if (own === undefined)
        throw new ConfigError(`the trust of the mesh lacks our own domain ${trustDomain}`);
      if (isOfOther(pushed.issuer, identity.source.get())) identity.renewSoon?.();
      const before = trust.get();
      if (pushed.version === before.version && isSame(own, before.bundles.get(trustDomain))) return;
      trust.set(pushed);
      identity.useBundle(own);
      file.save(pushed);
    },
    close() {
      stop();
      return file.close();
    },
  };
}

/** Has another CA signed our certificate than the one that signs now? */
function isOfOther(issuer: string | undefined, svid: Svid | undefined): boolean {
  const [leaf] = svid === undefined ? [] : splitPemCertificates(svid.certChainPem);
  if (issuer === undefined || leaf === undefined) return false;
  return parseCertificate(leaf).authorityKeyId?.toString("hex") !== issuer;
}

/** What has other roots than the control plane said is of no version. */
function withOwn(trust: MeshTrust, trustDomain: string, pem: string): MeshTrust {
  if (isSame(trust.bundles.get(trustDomain), pem)) return trust;
  return { ...withBundle(trust, trustDomain, pem), version: "" };
}

/** A text that was on disk may end differently. */
function isSame(one: string | undefined, other: string | undefined): boolean {
  return one?.trim() === other?.trim();
}
