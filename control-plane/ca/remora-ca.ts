import path from "node:path";
import type { KeyType } from "../../certs/keys.js";
import type { RenewalEvent } from "../../src/identity/renewal.js";
import type { Svid } from "../../src/identity/svid.js";
import { LatestValue } from "../../src/lifecycle/latest-value.js";
import type { Clock } from "../../src/time/clock.js";
import { bundleOf, openCaStore, type CaState, type CaStore } from "./ca-store.js";
import type { ConsulCa } from "./consul-ca.js";
import { openIssuanceLog, type IssuanceLog } from "./issuance-log.js";
import { createIssuer, type Issuer } from "./issuer.js";
import { openJoinTokens, type JoinTokens } from "./join-tokens.js";
import { startOtherIdentity } from "./other-identity.js";
import { startOwnIdentity } from "./own-identity.js";
import { openRevocations, type Revocations } from "./revocations.js";
import { keyIdOf } from "./rotation-rules.js";
import { publishTrust, type OwnRoots } from "./trust-source.js";

/** All that it takes to let others join. */
export interface JoinParts {
  readonly issuer: Issuer;
  readonly tokens: JoinTokens;
  readonly log: IssuanceLog;
  readonly revocations: Revocations;
}

/** Who gives the identities of the mesh, the control plane's own among them. */
export interface MeshCa extends ConsulCa {
  /** These are undefined when they are Consul's affair. */
  readonly joins: JoinParts | undefined;
  readonly store: CaStore | undefined;
  /** The control plane's certificate for a client that knows another root. */
  readonly identityFor: ((serverName: string) => Svid | undefined) | undefined;
}

/** The CA in the data folder with all that it needs to issue. @throws ConfigError */
export async function startRemoraCa(options: {
  readonly dataDir: string;
  readonly trustDomain: string;
  readonly leafTtlMs: number | undefined;
  readonly leafKeyType: KeyType | undefined;
  /** Of the CA's key; undefined: it is not encrypted. */
  readonly passphrase: string | undefined;
  /** JWK sets by trust domain, to be pushed with the roots. */
  readonly jwtKeys: LatestValue<ReadonlyMap<string, string>>;
  readonly clock: Clock;
  readonly onEvent: (event: RenewalEvent) => void;
  /** There is no certificate of the previous CA. */
  readonly onFailed: (error: unknown) => void;
}): Promise<MeshCa> {
  const { dataDir, trustDomain, leafTtlMs, leafKeyType, passphrase, jwtKeys, clock, onEvent, onFailed } =
    options;
  const caDir = path.join(dataDir, "ca");
  const store = await openCaStore({ dir: caDir, trustDomain, passphrase, clock });
  const { state } = store;
  const tokens = await openJoinTokens({
    file: path.join(dataDir, "tokens.json"),
    rootFingerprint: () => fingerprintsOf(state.get()),
    clock,
  });
  const ttl = leafTtlMs === undefined ? {} : { ttlMs: leafTtlMs };
  const signing = () => ({ authority: state.get().active, bundlePem: bundleOf(state.get()) });
  const issuer = createIssuer({ root: signing, clock, keyType: leafKeyType, ...ttl });
  const log = openIssuanceLog(caDir, clock);
  const revocations = await openRevocations({ file: path.join(dataDir, "revoked.json"), clock });
  const own = await startOwnIdentity(issuer, log, clock, onEvent);
  const other = await startOtherIdentity({ store, log, clock, onEvent, onFailed });
  const federated = new LatestValue<ReadonlyMap<string, string>>(new Map());
  const roots = new LatestValue<OwnRoots>(ownRoots(state.get()));
  const trust = publishTrust({ trustDomain, roots, revoked: revocations.serials, federated, jwtKeys });
  const stop = state.watch((now) => {
    roots.set(ownRoots(now));
    own.renewNow();
  });
  return {
    mesh: { trustDomain },
    certificates: own.certificates,
    revoked: revocations.serials,
    ...{ federated, trust, store },
    joins: { issuer, tokens, log, revocations },
    identityFor: other.identityFor,
    close() {
      stop();
      trust.close();
      revocations.close();
      other.close();
      own.close();
    },
  };
}

/** Leaves of another CA are only to be replaced while that one is about to go. */
function ownRoots(state: CaState): OwnRoots {
  return { bundlePem: bundleOf(state), issuer: state.step === "active" ? keyIdOf(state.active) : undefined };
}

/** New tokens name the root that signs; those that name the one before are good as long as it is believed. */
function fingerprintsOf({ step, active, other }: CaState): readonly [string, ...string[]] {
  const isBelieved = step === "active" && other !== undefined;
  return isBelieved ? [active.rootFingerprint, other.rootFingerprint] : [active.rootFingerprint];
}
