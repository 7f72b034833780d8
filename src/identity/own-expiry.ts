import type { Clock, Timer } from "../time/clock.js";
import type { CertificateSource } from "./svid.js";

/** At least this often the wall clock is looked at anew: it may jump, or the machine may have slept. */
const lookMs = 60_000;

/**
 * Tells when our own certificate has come to its end and no newer one was put in its place: once for each that does. Peers
 * refuse new connections from then on; those that are open are the listener's to close.
 * @returns the function that ends it.
 */
export function watchOwnExpiry(
  certificates: CertificateSource,
  clock: Clock,
  onExpired: () => void,
): () => void {
  let timer: Timer | undefined;
  const look = (): void => {
    timer?.cancel();
    const svid = certificates.get();
    if (svid === undefined) return;
    const leftMs = svid.notAfterMs - clock.wallMs();
    if (leftMs <= 0) return onExpired();
    timer = clock.timer(Math.min(lookMs, leftMs), look);
  };
  const stop = certificates.watch(look);
  look();
  return () => {
    stop();
    timer?.cancel();
  };
}
