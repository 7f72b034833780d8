import { jwkSetText } from "../../certs/jwk.js";
import { ConfigError } from "../../src/errors/config-error.js";
import { messageOf } from "../../src/errors/message-of.js";
import type { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock, Timer } from "../../src/time/clock.js";
import { fetchBundle } from "./fetch-bundle.js";
import { loadRelationships, maxRelationships, saveRelationships } from "./relationship-file.js";
import { readBundle, readRelationship, type Relationship, type RelationshipWish } from "./relationship.js";

export interface FederationOptions {
  /** Where relationships are kept with their newest bundles. */
  readonly file: string;
  readonly trustDomain: string;
  /** PEM roots of our own trust domain. */
  readonly ownRoots: () => string | undefined;
  /** Set to the PEM roots of each federated trust domain. */
  readonly roots: LatestValue<ReadonlyMap<string, string>>;
  /** Set to the JWK set of each federated trust domain. */
  readonly jwtKeys: LatestValue<ReadonlyMap<string, string>>;
  readonly clock: Clock;
  readonly onEvent: (event: FederationEvent) => void;
}

export interface FederationEvent {
  readonly kind: "added" | "removed" | "updated" | "failed";
  readonly trustDomain: string;
  readonly reason?: string;
}

/** One relationship as operators see it. */
export interface RelationshipView {
  readonly trustDomain: string;
  readonly endpoint: string;
  readonly profile: "https_spiffe" | "https_web";
  readonly endpointSpiffeId?: string;
  /** Of the bundle in force. */
  readonly sequence?: number;
  readonly refreshHintSeconds: number;
  /** Unix milliseconds of the last answer that could be used; absent: none since the start. */
  readonly fetchedAtMs?: number;
  /** Why the last try failed; absent: it did not. */
  readonly error?: string;
}

export interface Federation {
  views(): readonly RelationshipView[];
  /** @throws ConfigError */
  add(wish: RelationshipWish): Promise<void>;
  /** False when there is none. */
  remove(trustDomain: string): Promise<boolean>;
  close(): void;
}

/** What is known of a relationship beside what is kept of it. */
interface Standing {
  readonly relationship: Relationship;
  readonly timer?: Timer;
  readonly fetchedAtMs?: number;
  readonly error?: string;
}

/** SPIFFE Federation §4.1: "five minutes is recommended". */
const defaultHintSeconds = 300;
/** A hint is a hint: neither a flood nor a week without a look at what was taken back. */
const hintSeconds = { least: 1, most: 86_400 };

/** The other trust domains whose identities ours believes: kept, polled, never merged, and never our own. */
export async function openFederation(options: FederationOptions): Promise<Federation> {
  const { file, trustDomain, clock, onEvent } = options;
  const standings = new Map<string, Standing>();
  let isClosed = false;
  let saving: Promise<void> = Promise.resolve();

  const publish = (): void => {
    const bundles = [...standings.values()].flatMap(({ relationship: { trustDomain: domain, bundle } }) =>
      bundle === undefined ? [] : [[domain, readBundle(bundle, domain)] as const],
    );
    options.roots.set(
      new Map(bundles.flatMap(([domain, { rootsPem }]) => (rootsPem === "" ? [] : [[domain, rootsPem]]))),
    );
    options.jwtKeys.set(new Map(bundles.map(([domain, { jwtKeys }]) => [domain, jwkSetText(jwtKeys)])));
  };
  /** One after the other, each whole. */
  const save = (): Promise<void> => {
    saving = saving
      .catch(() => undefined)
      .then(() =>
        saveRelationships(
          file,
          [...standings.values()].map(({ relationship }) => relationship),
        ),
      );
    return saving;
  };
  const hintOf = ({ bundle, trustDomain: domain }: Relationship): number => {
    const hint = bundle === undefined ? undefined : readBundle(bundle, domain).refreshHint;
    return Math.min(hintSeconds.most, Math.max(hintSeconds.least, hint ?? defaultHintSeconds));
  };
  const wait = (standing: Standing, delayMs: number): void => {
    const { relationship } = standing;
    if (isClosed) return;
    const timer = clock.timer(delayMs, () => void poll(relationship));
    standings.set(relationship.trustDomain, { ...standing, timer });
  };
  const rootsOf = (domain: string): string | undefined =>
    domain === trustDomain ? options.ownRoots() : options.roots.get().get(domain);

  /** A failure changes nothing: the last good bundle stays. */
  const poll = async (relationship: Relationship): Promise<void> => {
    const { trustDomain: domain } = relationship;
    const isCurrent = (): boolean => !isClosed && standings.get(domain)?.relationship === relationship;
    const fetched = await fetchBundle(relationship, { rootsOf, clock })
      .then((text) => ({ bundle: newer(relationship, text) }))
      .catch((error: unknown) => ({ error: messageOf(error) }));
    const standing = standings.get(domain);
    // Removed, or added anew, meanwhile.
    if (!isCurrent() || standing === undefined) return;
    // Not all at once: after an outage every mesh is in the same situation.
    const delayMs = hintOf(relationship) * 1000 * (0.9 + 0.2 * clock.random());
    if ("error" in fetched) {
      if (standing.error !== fetched.error)
        onEvent({ kind: "failed", trustDomain: domain, reason: fetched.error });
      return wait({ ...standing, error: fetched.error }, delayMs);
    }
    const { bundle } = fetched;
    const next: Standing = { relationship, fetchedAtMs: clock.wallMs() };
    if (bundle === relationship.bundle) return wait(next, delayMs);
    const changed = { ...relationship, bundle };
    wait({ ...next, relationship: changed }, hintOf(changed) * 1000);
    publish();
    onEvent({ kind: "updated", trustDomain: domain });
    await save().catch((error: unknown) =>
      onEvent({ kind: "failed", trustDomain: domain, reason: `not kept on disk: ${messageOf(error)}` }),
    );
  };

  for (const relationship of await loadRelationships(file, trustDomain))
    standings.set(relationship.trustDomain, { relationship });
  publish();
  for (const standing of standings.values()) wait(standing, 0);

  return {
    views: () => [...standings.values()].map((standing) => view(standing, hintOf(standing.relationship))),
    async add(wish) {
      const relationship = readRelationship(wish, trustDomain);
      const { trustDomain: domain } = relationship;
      const before = standings.get(domain);
      if (before === undefined && standings.size >= maxRelationships)
        throw new ConfigError(`there are ${maxRelationships} federated trust domains: remove one first`);
      standings.set(domain, { relationship });
      try {
        await save();
      } catch (error: unknown) {
        if (before === undefined) standings.delete(domain);
        else standings.set(domain, before);
        throw error;
      }
      before?.timer?.cancel();
      publish();
      onEvent({ kind: "added", trustDomain: domain });
      wait({ relationship }, 0);
    },
    async remove(domain) {
      const before = standings.get(domain);
      if (before === undefined) return false;
      before.timer?.cancel();
      standings.delete(domain);
      publish();
      await save();
      onEvent({ kind: "removed", trustDomain: domain });
      return true;
    },
    close() {
      isClosed = true;
      for (const { timer } of standings.values()) timer?.cancel();
    },
  };
}

/** What was fetched, when it can be used. @throws ConfigError: unusable, or older than what is in force. */
function newer({ bundle: known, trustDomain }: Relationship, text: string): string {
  const { sequence } = readBundle(text, trustDomain);
  const present = known === undefined ? undefined : readBundle(known, trustDomain).sequence;
  if (sequence !== undefined && present !== undefined && sequence < present)
    throw new ConfigError(`the endpoint's bundle ${sequence} is older than ${present}, which is in force`);
  return text;
}

function view({ relationship, fetchedAtMs, error }: Standing, hint: number): RelationshipView {
  const { trustDomain, endpoint, profile, bundle } = relationship;
  const sequence = bundle === undefined ? undefined : readBundle(bundle, trustDomain).sequence;
  return {
    trustDomain,
    endpoint,
    profile: profile.kind,
    ...(profile.kind === "https_spiffe" && { endpointSpiffeId: profile.endpointSpiffeId }),
    ...(sequence !== undefined && { sequence }),
    refreshHintSeconds: hint,
    ...(fetchedAtMs !== undefined && { fetchedAtMs }),
    ...(error !== undefined && { error }),
  };
}
