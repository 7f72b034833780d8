import { removeLeftovers } from "../../certs/secret-file.js";
import { formatSpiffeId, parseSpiffeId } from "../../certs/spiffe-id.js";
import { issuedAtMs } from "../../certs/validity.js";
import { ConfigError } from "../errors/config-error.js";
import { messageOf } from "../errors/message-of.js";
import { startRenewal, type RenewalEvent } from "../identity/renewal.js";
import { loadSvid, makeStateFolder, saveSvid } from "../identity/svid-file.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import { fullJitterMs } from "../time/backoff.js";
import { sleep, type Clock } from "../time/clock.js";
import { CertificateRefused, enrollBy, renew } from "./enroll.js";
import { FirstContactError } from "./first-contact.js";
import { readJoinProof, type JoinSource } from "./join-proof.js";

/** Thousands of sidecars are told in the same second that another CA signs. */
const soonMs = 60_000;
const backoff = { baseMs: 200, maxMs: 2000 };

/** How to join is needed only while there is no usable certificate in stateDir. */
export interface IdentityKeeperOptions extends JoinSource {
  readonly stateDir: string;
  readonly namespace: string;
  readonly controlPlane: string;
  /** SHA-256 of the root that the control plane must have, hexadecimal; undefined = what the join token says. */
  readonly caFingerprint?: string | undefined;
  /** How long a control plane that does not answer is waited for, milliseconds. */
  readonly enrollTimeoutMs?: number;
  readonly clock: Clock;
  /** The control plane does not answer yet; told once, with the reason. */
  readonly onWaiting: (reason: string) => void;
  readonly onEvent: (event: RenewalEvent) => void;
  /** A certificate that could not be saved: it is in use, but a restart will not find it. */
  readonly onSaveFailed: (error: unknown) => void;
}

export interface IdentityKeeper {
  readonly source: CertificateSource;
  /** The roots of our trust domain are these from now on. */
  useBundle(bundlePem: string): void;
  /** The control plane does not take the certificate any more: a new one is fetched at once, by joining anew. */
  refused(): void;
  /** Another CA signs now: a new certificate of it soon, not all sidecars at once. */
  renewSoon(): void;
  close(): void;
}

/**
 * The sidecar's identity over its whole life: from the state directory, else by join token, then renewed in place.
 *
 * @throws ConfigError no certificate and no way to get one, or a state directory of another service; names the fix.
 */
export async function keepIdentity(options: IdentityKeeperOptions): Promise<IdentityKeeper> {
  const { stateDir, clock, controlPlane, onEvent, onSaveFailed } = options;
  await removeLeftovers(stateDir, clock.wallMs());
  const saved = await loadSvid(stateDir);
  if (saved !== undefined) refuseForeign(saved, options);
  const isUsable = saved !== undefined && saved.notAfterMs > clock.wallMs();
  const svid = isUsable ? saved : await join(options, saved);
  const source: CertificateSource = new LatestValue<Svid | undefined>(svid);
  let saving = Promise.resolve();
  const save = (next: Svid): void => {
    // One after the other: the newest must be the last.
    saving = saving.then(() => saveSvid(stateDir, next)).catch(onSaveFailed);
  };
  if (!isUsable) save(svid);
  const renewal = startRenewal({
    source,
    clock,
    onEvent(event) {
      // Not before it was verified and put to use: what is on the disk must be good for a restart.
      if (event.kind === "renewed") save(event.svid);
      onEvent(event);
    },
    renew: (signal) => {
      const current = source.get();
      if (current === undefined) throw new Error("no identity to renew");
      // Nobody believes an expired one, the control plane included: only a new token helps, and may be there by now.
      if (current.notAfterMs <= clock.wallMs()) return join({ ...options, enrollTimeoutMs: 0 }, current);
      return renew(current, { controlPlane, clock, signal }).catch((error: unknown) =>
        rejoin(options, current, error),
      );
    },
  });
  await saving;
  return {
    source,
    useBundle(bundlePem) {
      const current = source.get();
      if (current === undefined || current.bundlePem.trim() === bundlePem.trim()) return;
      const next = { ...current, bundlePem };
      source.set(next);
      save(next);
    },
    refused: () => renewal.hurry(),
    renewSoon() {
      const svid = source.get();
      const lifeMs = svid === undefined ? 0 : svid.notAfterMs - issuedAtMs(svid);
      renewal.hasten(Math.min(soonMs, lifeMs / 10));
    },
    close: () => renewal.close(),
  };
}

/** A revoked certificate renews no more, but a new token lets the service in again: it may be in its place by now. */
async function rejoin(options: IdentityKeeperOptions, current: Svid, error: unknown): Promise<Svid> {
  const { tokenFile, consulJoinFile } = options;
  // Standard input has been read.
  const hasProof = consulJoinFile !== undefined || (tokenFile !== undefined && tokenFile !== "-");
  if (!(error instanceof CertificateRefused) || !hasProof) throw error;
  try {
    return await join({ ...options, enrollTimeoutMs: 0 }, current);
  } catch (cause) {
    throw new ConfigError(`${error.message}; joining anew: ${messageOf(cause)}`, { cause });
  }
}

/** Two services that share a state directory by mistake would take each other's identity. */
function refuseForeign({ id }: Svid, { stateDir, service, namespace }: IdentityKeeperOptions): void {
  const { trustDomain } = parseSpiffeId(id);
  const expected = formatSpiffeId({ trustDomain, namespace, service });
  if (id === expected) return;
  throw new ConfigError(`${stateDir} holds the identity ${id}, not ${expected}: give each service its own`, {
    place: "--state-dir",
  });
}

async function join(options: IdentityKeeperOptions, expired: Svid | undefined): Promise<Svid> {
  const { stateDir, service, namespace, controlPlane, clock } = options;
  const proof = await readJoinProof(options, foundIn(stateDir, expired));
  // Before the token is used up by a certificate that could not be kept.
  await makeStateFolder(stateDir);
  const { caFingerprint } = options;
  const request = { controlPlane, proof, caFingerprint, service, namespace, clock };
  const giveUpAtMs = clock.monotonicMs() + (options.enrollTimeoutMs ?? 0);
  for (let attempt = 0; ; attempt++) {
    try {
      return await enrollBy(request);
    } catch (error) {
      // Machines boot in any order: the control plane may only be on its way. Anything but that is final, and so is all
      // that came after the token was sent.
      const waitMs = fullJitterMs(backoff, attempt, clock.random);
      if (!(error instanceof FirstContactError) || clock.monotonicMs() + waitMs > giveUpAtMs) throw error;
      if (attempt === 0) options.onWaiting(error.message);
      await sleep(clock, waitMs);
    }
  }
}

/** What there is in place of a certificate that can be used. */
function foundIn(stateDir: string, expired: Svid | undefined): string {
  // An expired one cannot be renewed: nobody believes it any more, the control plane included.
  return expired === undefined
    ? `no certificate in ${stateDir}`
    : `the certificate in ${stateDir} expired at ${new Date(expired.notAfterMs).toISOString()}`;
}
