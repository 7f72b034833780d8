import { fingerprint, splitPemCertificates } from "../../certs/bundle.js";
import type { Clock } from "../time/clock.js";
import { readServedLeaf } from "./served-leaf.js";
import type { Svid } from "./svid.js";

/** Does the listener serve the identity it should? `detail` is one line for the log. */
export type ServedCheck = { readonly ok: true } | { readonly ok: false; readonly detail: string };

/** On loopback a handshake takes milliseconds. */
const timeoutMs = 5000;

/**
 * Connects to our own mTLS listener and compares the leaf it shows with `svid`: what matters is what peers see, not what
 * the renewal believes (consul#16779: fresh agent, expired certificate served).
 */
export async function checkServed(
  target: { readonly address: string; readonly port: number },
  svid: Svid,
  clock: Clock,
): Promise<ServedCheck> {
  const served = await readServedLeaf({ ...target, timeoutMs }, svid, clock);
  if (!served.ok) return served;
  const [own] = splitPemCertificates(svid.certChainPem);
  if (own !== undefined && served.der.equals(own)) return { ok: true };
  return {
    ok: false,
    detail: `serves another certificate (sha256 ${fingerprint(served.der)}) than ${svid.serial}`,
  };
}
