import type { CaView, RotationView } from "../../control-plane/ca/rotate.js";
import { printable } from "./table.js";

/** Sidecars that are listed; the rest is counted. */
const maxListed = 20;

const steps: Readonly<Record<RotationView["step"], string>> = {
  idle: "no rotation under way",
  prepared: "prepared: sidecars and other meshes are being told of the new CA",
  distributed: "distributed: every connected sidecar believes the new CA; next: remora ca rotate --activate",
  active: "active: the new CA signs; sidecars are renewing",
  renewed: "renewed: no connected sidecar uses the old CA; next: remora ca rotate --finish",
};

/** The CA and how far its rotation has come, for people. */
export function caLines(view: RotationView): readonly string[] {
  const { trustDomain, step, active, next, previous, lagging, sidecars, trustVersion } = view;
  return [
    `trust domain  ${trustDomain}`,
    `rotation      ${steps[step]}`,
    caLine("signs", active),
    ...(next === null ? [] : [caLine("next", next)]),
    ...(previous === null ? [] : [caLine("previous", previous)]),
    `trust         version ${trustVersion.slice(0, 8)}, ${sidecars} sidecars connected, ${lagging.length} not ready`,
    ...lagging.slice(0, maxListed).map(({ id, reason }) => printable(`  ${id}  ${reason}`)),
    ...(lagging.length > maxListed ? [`  and ${lagging.length - maxListed} more`] : []),
  ];
}

function caLine(role: string, { kind, rootFingerprint, notAfter }: CaView): string {
  return `${role.padEnd(13)} ${kind}, valid until ${notAfter}, root sha256 ${rootFingerprint}`;
}
