import { Client, connectivityState } from "@grpc/grpc-js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import type { TrustSource } from "../identity/mesh-trust.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock, Timer } from "../time/clock.js";
import { channelOptionsFor, controlPlaneCredentials } from "./control-plane-tls.js";

export interface ControlPlaneChannelOptions {
  /** host:port of the control plane's gRPC listener. */
  readonly controlPlane: string;
  readonly certificates: CertificateSource;
  /** Whose revocations hold for the control plane too. */
  readonly trust?: Pick<TrustSource, "get">;
  readonly clock: Clock;
}

/**
 * The sidecar's mTLS connection to its control plane, re-made at each certificate rotation and when it cannot be
 * established for long.
 */
export interface ControlPlaneChannel {
  /**
   * gRPC client on the newest certificate; undefined until there is one. When it changes, open streams anew on the new
   * one and then drop the old: the client before is closed after a grace time.
   */
  readonly client: LatestValue<Client | undefined>;
  close(): void;
}

/** Time for streams to move to the new client, milliseconds. */
const graceMs = 10_000;

/**
 * grpc-js sets no limit to a connection attempt: one whose packets vanish in a black hole would keep the channel waiting
 * for ever, although the control plane can be reached again. A channel without connection for so long is replaced.
 */
const connectLimitMs = 5000;
const lookMs = 1000;

/** Connects lazily, with the first call. The caller closes it. */
export function openControlPlaneChannel(options: ControlPlaneChannelOptions): ControlPlaneChannel {
  const { controlPlane, certificates, trust, clock } = options;
  const client = new LatestValue<Client | undefined>(undefined);
  const retiring = new Map<Client, Timer>();
  let connectingSinceMs: number | undefined;

  const replace = (svid: Svid | undefined): Client | undefined => {
    if (svid === undefined) return undefined;
    const credentials = controlPlaneCredentials(
      svid.bundlePem,
      parseSpiffeId(svid.id),
      svid,
      () => trust?.get().revoked,
    );
    const previous = client.get();
    connectingSinceMs = undefined;
    client.set(new Client(`dns:///${controlPlane}`, credentials, channelOptionsFor(svid.bundlePem)));
    return previous;
  };
  const renew = (svid: Svid | undefined): void => {
    const previous = replace(svid);
    if (previous === undefined) return;
    retiring.set(
      previous,
      clock.timer(graceMs, () => {
        retiring.delete(previous);
        previous.close();
      }),
    );
  };
  const look = (): void => {
    const nowMs = clock.monotonicMs();
    if (!isConnecting(client.get())) connectingSinceMs = undefined;
    else connectingSinceMs ??= nowMs;
    // Jitter: after an outage of the network all sidecars are in the same situation.
    if (connectingSinceMs !== undefined && nowMs - connectingSinceMs >= connectLimitMs * (1 + clock.random()))
      replace(certificates.get())?.close();
    watchdog = clock.timer(lookMs, look);
  };
  let watchdog = clock.timer(lookMs, look);
  const stop = certificates.watch(renew);
  renew(certificates.get());

  return {
    client,
    close() {
      stop();
      watchdog.cancel();
      client.get()?.close();
      client.set(undefined);
      for (const [old, timer] of retiring) {
        timer.cancel();
        old.close();
      }
      retiring.clear();
    },
  };
}

/** Not idle, and without a connection. */
function isConnecting(client: Client | undefined): boolean {
  const state = client?.getChannel().getConnectivityState(false);
  return state === connectivityState.CONNECTING || state === connectivityState.TRANSIENT_FAILURE;
}
