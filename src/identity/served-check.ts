import { connect, type TLSSocket } from "node:tls";
import { fingerprint, splitPemCertificates } from "../../certs/bundle.js";
import type { Clock } from "../time/clock.js";
import type { Svid } from "./svid.js";
import { clientTlsOptions } from "./tls-options.js";

/** Does the listener serve the identity it should? `detail` is one line for the log. */
export type ServedCheck = { readonly ok: true } | { readonly ok: false; readonly detail: string };

/** On loopback a handshake takes milliseconds. */
const timeoutMs = 5000;

/** Server name (SNI) by which the listener knows that nothing but the handshake is wanted, and nobody is to be told. */
export const servedCheckName = "served-check.invalid";

/**
 * Connects to our own mTLS listener and compares the leaf it shows with `svid`: what matters is what peers see, not what
 * the renewal believes (consul#16779: fresh agent, expired certificate served). Sends nothing. Whatever the network does is an answer, not a rejection.
 */
export function checkServed(
  target: { readonly address: string; readonly port: number },
  svid: Svid,
  clock: Clock,
): Promise<ServedCheck> {
  return new Promise((resolve) => {
    const { address: host, port } = target;
    const socket = connect({ host, port, servername: servedCheckName, ...clientTlsOptions(svid) });
    const done = (result: ServedCheck): void => {
      timer.cancel();
      // After the last flight of the handshake is out: else our own listener counts a peer that broke off.
      socket.end(() => socket.destroy());
      resolve(result);
    };
    const timer = clock.timer(timeoutMs, () => done({ ok: false, detail: "no handshake within 5s" }));
    // Stays for the socket's life: an error after the verdict must not end the process.
    socket.on("error", (error) => done({ ok: false, detail: error.message }));
    socket.once("secureConnect", () => done(compare(socket, svid)));
  });
}

function compare(socket: TLSSocket, svid: Svid): ServedCheck {
  const served = socket.getPeerCertificate(false).raw;
  const [own] = splitPemCertificates(svid.certChainPem);
  if (own !== undefined && served.equals(own)) return { ok: true };
  return {
    ok: false,
    detail: `serves another certificate (sha256 ${fingerprint(served)}) than ${svid.serial}`,
  };
}
