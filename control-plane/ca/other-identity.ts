import { rootServerName } from "../../src/discovery/control-plane-tls.js";
import type { RenewalEvent } from "../../src/identity/renewal.js";
import type { Svid } from "../../src/identity/svid.js";
import type { Clock } from "../../src/time/clock.js";
import { bundleOf, type CaState, type CaStore } from "./ca-store.js";
import type { IssuanceLog } from "./issuance-log.js";
import { createIssuer } from "./issuer.js";
import { startOwnIdentity, type OwnIdentity } from "./own-identity.js";

/**
 * The control plane's second certificate, of the CA before, as long as that one is believed: for sidecars that were away while
 * the new root was made known, and for join tokens from before. They name the root they know in the handshake.
 */
export interface OtherIdentity {
  /** The certificate that leads to the root which `serverName` names; undefined: the usual one will do. */
  identityFor(serverName: string): Svid | undefined;
  close(): void;
}

export async function startOtherIdentity(options: {
  readonly store: CaStore;
  readonly log: IssuanceLog;
  readonly clock: Clock;
  readonly onEvent: (event: RenewalEvent) => void;
  readonly onFailed: (error: unknown) => void;
}): Promise<OtherIdentity> {
  const { store, log, clock, onEvent, onFailed } = options;
  let current: { readonly name: string; readonly own: OwnIdentity } | undefined;
  let turn: Promise<void> = Promise.resolve();
  const follow = async (state: CaState): Promise<void> => {
    const { other } = state;
    const isWanted = state.step === "active" && other?.rootFingerprint !== state.active.rootFingerprint;
    current?.own.close();
    current = undefined;
    if (!isWanted || other === undefined) return;
    const issuer = createIssuer({
      root: () => ({ authority: other, bundlePem: bundleOf(store.state.get()) }),
      clock,
    });
    current = {
      name: rootServerName(other.rootFingerprint),
      own: await startOwnIdentity(issuer, log, clock, onEvent),
    };
  };
  await follow(store.state.get());
  const stop = store.state.watch((state) => {
    turn = turn.then(() => follow(state)).catch(onFailed);
  });
  return {
    identityFor: (serverName) => (current?.name === serverName ? current.own.certificates.get() : undefined),
    close() {
      stop();
      current?.own.close();
      current = undefined;
    },
  };
}
