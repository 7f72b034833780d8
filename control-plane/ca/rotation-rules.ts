import type { Authority } from "../../certs/authority.js";
import type { SidecarView } from "../admin/views.js";
import type { CaState } from "./ca-store.js";

/** Where a rotation stands. distributed: every connected sidecar believes the next CA. renewed: none uses the old one. */
export const rotationSteps = ["idle", "prepared", "distributed", "active", "renewed"] as const;
export type RotationStep = (typeof rotationSteps)[number];

/** Whom the next step waits for. */
export interface Lagging {
  /** Name of a connected sidecar, or `otherMeshes`. */
  readonly id: string;
  readonly reason: string;
}

export type RotationSidecar = Pick<SidecarView, "id" | "trustVersion" | "nackReason" | "certificateIssuer">;

/** Who does not let the rotation go on. Empty: the next step may be taken. */
export function lagging(
  state: Pick<CaState, "step" | "active" | "other">,
  trustVersion: string,
  sidecars: readonly RotationSidecar[],
): readonly Lagging[] {
  if (state.step === "idle") return [];
  const old = state.step === "active" && state.other !== undefined ? keyIdOf(state.other) : undefined;
  return sidecars.flatMap((sidecar) => {
    const reason = reasonOf(sidecar, trustVersion, old);
    return reason === undefined ? [] : [{ id: sidecar.id, reason }];
  });
}

export const otherMeshes = "other meshes";
/** SPIFFE Trust Domain and Bundle §4.1.2: a new key stands in the bundle three to five times as long as its refresh hint. */
const rounds = 3;

/**
 * Meshes that follow our bundle fetch it by themselves and confirm nothing: they get the time of some rounds before a new root
 * signs.
 * @param bundleRefreshMs how often they are asked to look; undefined: the bundle is not offered.
 */
export function othersLagging(
  { step, active, other, preparedAtMs }: Pick<CaState, "step" | "active" | "other" | "preparedAtMs">,
  bundleRefreshMs: number | undefined,
  nowMs: number,
): readonly Lagging[] {
  if (step !== "prepared" || bundleRefreshMs === undefined) return [];
  if (other?.rootFingerprint === active.rootFingerprint) return [];
  const untilMs = preparedAtMs + rounds * bundleRefreshMs;
  if (nowMs >= untilMs) return [];
  const reason = `may not have fetched the bundle with the new CA before ${new Date(untilMs).toISOString()}`;
  return [{ id: otherMeshes, reason }];
}

export function rotationStep(step: CaState["step"], isWaiting: boolean): RotationStep {
  if (step === "prepared") return isWaiting ? "prepared" : "distributed";
  if (step === "active") return isWaiting ? "active" : "renewed";
  return "idle";
}

/** Subject key id, as it stands in MeshTrust.issuer and in SidecarView.certificateIssuer. */
export function keyIdOf({ certificate }: Pick<Authority, "certificate">): string {
  return certificate.subjectKeyId?.toString("hex") ?? "";
}

function reasonOf(
  { trustVersion: own, nackReason, certificateIssuer }: RotationSidecar,
  newest: string,
  oldKeyId: string | undefined,
): string | undefined {
  if (own !== newest)
    return nackReason !== null
      ? `has refused the trust bundle: ${nackReason}`
      : own === null
        ? "has no trust bundle of this control plane"
        : `has the older trust bundle ${own.slice(0, 8)}`;
  return oldKeyId !== undefined && certificateIssuer === oldKeyId
    ? "uses a certificate of the old CA"
    : undefined;
}
