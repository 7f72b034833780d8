import { Client } from "@grpc/grpc-js";
import { parseSpiffeId } from "../../certs/spiffe-id.js";
import type { CertificateSource, Svid } from "../identity/svid.js";
import { LatestValue } from "../lifecycle/latest-value.js";
import type { Clock, Timer } from "../time/clock.js";
import { controlPlaneChannelOptions, controlPlaneCredentials } from "./control-plane-tls.js";

export interface ControlPlaneChannelOptions {
  /** host:port of the control plane's gRPC listener. */
  readonly controlPlane: string;
  readonly certificates: CertificateSource;
  readonly clock: Clock;
}

/** The sidecar's mTLS connection to its control plane, re-made at each certificate rotation. */
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

/** Connects lazily, with the first call. The caller closes it. */
export function openControlPlaneChannel(options: ControlPlaneChannelOptions): ControlPlaneChannel {
  const { controlPlane, certificates, clock } = options;
  const client = new LatestValue<Client | undefined>(undefined);
  const retiring = new Map<Client, Timer>();

  const renew = (svid: Svid | undefined): void => {
    if (svid === undefined) return;
    const { trustDomain } = parseSpiffeId(svid.id);
    const credentials = controlPlaneCredentials(svid.bundlePem, trustDomain, svid);
    const next = new Client(`dns:///${controlPlane}`, credentials, controlPlaneChannelOptions);
    const previous = client.get();
    client.set(next);
    if (previous === undefined) return;
    retiring.set(
      previous,
      clock.timer(graceMs, () => {
        retiring.delete(previous);
        previous.close();
      }),
    );
  };
  const stop = certificates.watch(renew);
  renew(certificates.get());

  return {
    client,
    close() {
      stop();
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
