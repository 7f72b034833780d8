import { formatSpiffeId, parseSpiffeId } from "../../certs/spiffe-id.js";
import { controlPlaneName } from "../../src/discovery/proto/enrollment.js";
import { ConfigError } from "../../src/errors/config-error.js";
import type { Clock } from "../../src/time/clock.js";
import type { SidecarView } from "../admin/views.js";
import type { IssuanceLog, IssuedEntry } from "./issuance-log.js";
import type { Caller } from "./issuer.js";
import type { JoinTokens } from "./join-tokens.js";
import type { Revocations, RevokedLeaf } from "./revocations.js";

/** What is to be revoked: one certificate, all of a service, or those of one connected sidecar. */
export type RevokeWish =
  | { readonly serial: string }
  | { readonly service: string; readonly namespace: string }
  | { readonly node: string };

export interface RevokeResult {
  readonly revoked: readonly Pick<RevokedLeaf, "serial" | "id" | "notAfterMs">[];
  /** Join tokens that could still have been used. */
  readonly tokensVoided: number;
}

export interface RevokeParts {
  readonly trustDomain: string;
  readonly log: IssuanceLog;
  readonly revocations: Revocations;
  readonly tokens: JoinTokens;
  readonly sidecars: () => readonly SidecarView[];
  readonly clock: Clock;
}

/**
 * Revokes certificates, with all that were renewed from them, and makes the join tokens of their services void: whoever
 * has a stolen key may have renewed with it, and may have a token too.
 *
 * @throws ConfigError when nothing fits.
 */
export async function revoke(parts: RevokeParts, wish: RevokeWish, reason: string): Promise<RevokeResult> {
  const { revocations, tokens, clock, trustDomain } = parts;
  const found = await candidates(parts, wish);
  const owners = ownersOf(found.values());
  if ("service" in wish) owners.set(idOf(wish, trustDomain), wish);
  if (owners.has(idOf(controlPlaneName, trustDomain)))
    throw new ConfigError("the control plane's own certificate cannot be revoked: replace the CA instead");
  let tokensVoided = 0;
  for (const owner of owners.values()) tokensVoided += await tokens.voidAll(owner);
  if (found.size === 0 && tokensVoided === 0) throw new ConfigError(nothingFits(wish));
  // Now, not before: whoever used a token until it was void asked earlier.
  const when = { atMs: clock.wallMs(), reason };
  const leaf = (one: Candidate): RevokedLeaf => ({ ...one, ...when });
  const evictions = [...owners.values()].map(({ service, namespace }) => ({ service, namespace, ...when }));
  await revocations.add([...found.values()].map(leaf), evictions);
  // Looked for again: what was signed meanwhile is in the log by now, or is refused.
  const all = new Map([...found, ...(await candidates(parts, wish, new Set(found.keys())))]);
  const late = [...all.values()].filter(({ serial }) => !found.has(serial));
  if (late.length > 0) await revocations.add(late.map(leaf));
  return { revoked: [...all.values()], tokensVoided };
}

interface Candidate {
  readonly serial: string;
  readonly id: string;
  readonly notAfterMs: number;
}

/** Leaves that have not expired, from the log and from those that are connected. By serial. */
async function candidates(
  { log, sidecars, clock, trustDomain }: RevokeParts,
  wish: RevokeWish,
  known: ReadonlySet<string> = new Set(),
): Promise<ReadonlyMap<string, Candidate>> {
  const connected = sidecars();
  const serials = new Set(known);
  if ("serial" in wish) serials.add(wish.serial.toUpperCase());
  if ("node" in wish)
    for (const { id, certificateSerial } of connected)
      if (id === wish.node && certificateSerial !== null) serials.add(certificateSerial);
  const id = "service" in wish ? idOf(wish, trustDomain) : undefined;
  const found = new Map<string, Candidate>();
  for await (const entry of log.read()) {
    const isRenewal = entry.by === "certificate" && serials.has(entry.proof);
    if (entry.id !== id && !serials.has(entry.serial) && !isRenewal) continue;
    serials.add(entry.serial); // the log is in order: what was renewed from it comes later
    const leaf = candidateOf(entry);
    if (leaf.notAfterMs > clock.wallMs()) found.set(leaf.serial, leaf);
  }
  for (const sidecar of connected) {
    const { certificateSerial: serial, certificateNotAfterMs: notAfterMs } = sidecar;
    const own = idOf(sidecar, trustDomain);
    if (serial === null || notAfterMs === null || !(serials.has(serial) || own === id)) continue;
    if (!found.has(serial)) found.set(serial, { serial, id: own, notAfterMs });
  }
  return found;
}

function candidateOf({ serial, id, notAfter }: IssuedEntry): Candidate {
  return { serial, id, notAfterMs: Date.parse(notAfter) };
}

function idOf({ service, namespace }: Caller, trustDomain: string): string {
  return formatSpiffeId({ trustDomain, service, namespace });
}

/** By SPIFFE id. */
function ownersOf(leaves: Iterable<Candidate>): Map<string, Caller> {
  const owners = new Map<string, Caller>();
  for (const { id } of leaves) if (!owners.has(id)) owners.set(id, parseSpiffeId(id));
  return owners;
}

function nothingFits(wish: RevokeWish): string {
  if ("serial" in wish)
    return `no certificate with serial ${JSON.stringify(wish.serial.slice(0, 60))} is in use: list them with remora cert list`;
  if ("node" in wish)
    return `no sidecar ${JSON.stringify(wish.node.slice(0, 200))} is connected: see remora status, or revoke by --service`;
  return `no certificate of ${wish.service}.${wish.namespace} is in use: list them with remora cert list`;
}
