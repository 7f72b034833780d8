import { CertificateError } from "../../certs/certificate-error.js";
import type { Authority } from "../../certs/authority.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import type { SidecarView } from "../admin/views.js";
import type { CaState, CaStore } from "./ca-store.js";
import {
  lagging,
  otherMeshes,
  othersLagging,
  rotationStep,
  type Lagging,
  type RotationStep,
} from "./rotation-rules.js";

/** One CA, as GET /v1/ca shows it. */
export interface CaView {
  readonly kind: "root" | "intermediate";
  /** SHA-256 of the root, hexadecimal. */
  readonly rootFingerprint: string;
  /** Of the certificate that signs. */
  readonly serial: string;
  /** ISO 8601. */
  readonly notAfter: string;
}

/** Answer of GET /v1/ca and of POST /v1/ca/rotate. */
export interface RotationView {
  readonly trustDomain: string;
  readonly step: RotationStep;
  /** Signs. */
  readonly active: CaView;
  /** The one that is to sign next, or the one that has signed before; null without a rotation. */
  readonly next: CaView | null;
  readonly previous: CaView | null;
  readonly trustVersion: string;
  /** Connected sidecars, and other meshes, that the next step waits for. */
  readonly lagging: readonly Lagging[];
  readonly sidecars: number;
}

export type RotateWish =
  | { readonly do: "prepare"; readonly from: string | undefined }
  | { readonly do: "activate" | "finish"; readonly isForced: boolean }
  | { readonly do: "abort" };

export interface Rotation {
  view(): RotationView;
  /** @throws ConfigError when the step is not due, or sidecars are not ready for it; it names them. */
  rotate(wish: RotateWish): Promise<RotationView>;
}

/** Names in an error text; the rest is counted. */
const maxNames = 10;

/** The rotation of the CA as operators drive it: each step only when the mesh is ready for it. */
export function createRotation(parts: {
  readonly store: CaStore;
  readonly trustVersion: () => string;
  readonly sidecars: () => readonly SidecarView[];
  /** How often other meshes are asked to fetch our bundle; undefined: it is not offered to them. */
  readonly bundleRefreshMs: number | undefined;
  readonly clock: Clock;
  readonly onStep: (wish: RotateWish["do"], view: RotationView) => void;
}): Rotation {
  const { store, trustVersion, sidecars, bundleRefreshMs, clock, onStep } = parts;
  let turn: Promise<unknown> = Promise.resolve();
  const view = (): RotationView => {
    const state = store.state.get();
    const others = othersLagging(state, bundleRefreshMs, clock.wallMs());
    return viewOf(state, trustVersion(), sidecars(), others);
  };
  const act = async (wish: RotateWish): Promise<RotationView> => {
    if (wish.do === "prepare") await explain(() => store.prepare(wish.from));
    else if (wish.do === "abort") await store.abort();
    else {
      const isDue = store.state.get().step === (wish.do === "activate" ? "prepared" : "active");
      if (isDue && !wish.isForced) refuseEarly(wish.do, view());
      await (wish.do === "activate" ? store.activate() : store.finish());
    }
    const now = view();
    onStep(wish.do, now);
    return now;
  };
  return {
    view,
    // One after the other: two operators at once must not take one step twice.
    rotate(wish) {
      const done = turn.then(() => act(wish));
      turn = done.catch(() => undefined);
      return done;
    },
  };
}

function refuseEarly(step: "activate" | "finish", { lagging: late }: RotationView): void {
  if (late.length === 0) return;
  const names = late.slice(0, maxNames).map(({ id, reason }) => `${id} ${reason}`);
  if (late.length > maxNames) names.push(`and ${late.length - maxNames} more`);
  const what =
    step === "activate" ? "would refuse certificates of the new CA" : "would be refused without the old CA";
  const count = late.filter(({ id }) => id !== otherMeshes).length;
  const who = count === 0 ? otherMeshes : `${count} connected sidecars`;
  throw new ConfigError(`${who} ${what} (${names.join("; ")}): wait for them, or use --force`);
}

function viewOf(
  state: CaState,
  trustVersion: string,
  sidecars: readonly SidecarView[],
  others: readonly Lagging[],
): RotationView {
  const late = [...others, ...lagging(state, trustVersion, sidecars)];
  const other = state.other === undefined ? null : caView(state.other);
  return {
    trustDomain: state.active.trustDomain,
    step: rotationStep(state.step, late.length > 0),
    active: caView(state.active),
    next: state.step === "prepared" ? other : null,
    previous: state.step === "active" ? other : null,
    trustVersion,
    lagging: late,
    sidecars: sidecars.length,
  };
}

function caView({ certificate, rootFingerprint, intermediatesPem }: Authority): CaView {
  return {
    kind: intermediatesPem === "" ? "root" : "intermediate",
    rootFingerprint,
    serial: certificate.serial,
    notAfter: new Date(certificate.notAfterMs).toISOString(),
  };
}

async function explain(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error: unknown) {
    if (error instanceof CertificateError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
