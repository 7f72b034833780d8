import { connect, type TLSSocket } from "node:tls";
import type { Clock } from "../time/clock.js";
import type { Svid } from "./svid.js";
import { clientTlsOptions } from "./tls-options.js";

/** Server name (SNI) by which a listener knows that nothing but the handshake is wanted, and nobody is to be told. */
export const servedCheckName = "served-check.invalid";

export interface ServedLeafOptions {
  readonly address: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Also tell what a listener shows that `svid`'s roots do not vouch for. Default: that is an error. */
  readonly isAnyTold?: boolean;
}

/** What a listener shows in a handshake, or why there was none. */
export type ServedLeaf =
  | {
      readonly ok: true;
      readonly der: Buffer;
      /** What TLS has against it. */ readonly doubt: string | undefined;
    }
  | { readonly ok: false; readonly detail: string };

/**
 * Makes a handshake with a mesh listener as `svid` and ends it: what peers see there, whatever anybody believes. Sends nothing.
 * Whatever the network does is an answer, not a rejection.
 */
export function readServedLeaf(target: ServedLeafOptions, svid: Svid, clock: Clock): Promise<ServedLeaf> {
  return new Promise((resolve) => {
    const { address: host, port, timeoutMs, isAnyTold = false } = target;
    const options = { ...clientTlsOptions(svid), rejectUnauthorized: !isAnyTold };
    const socket = connect({ host, port, servername: servedCheckName, ...options });
    const done = (result: ServedLeaf): void => {
      timer.cancel();
      // After the last flight of the handshake is out: else the listener counts a peer that broke off.
      socket.end(() => socket.destroy());
      resolve(result);
    };
    const timer = clock.timer(timeoutMs, () =>
      done({ ok: false, detail: `no handshake within ${timeoutMs / 1000}s` }),
    );
    // Stays for the socket's life: an error after the verdict must not end the process.
    socket.on("error", (error) => done({ ok: false, detail: error.message }));
    socket.once("secureConnect", () => done(shown(socket)));
  });
}

function shown(socket: TLSSocket): ServedLeaf {
  const { raw } = socket.getPeerCertificate(false) as { readonly raw?: Buffer };
  if (raw === undefined) return { ok: false, detail: "no certificate was shown" };
  const doubt: unknown = socket.authorized ? undefined : socket.authorizationError;
  return { ok: true, der: raw, doubt: doubt === undefined ? undefined : String(doubt) };
}
